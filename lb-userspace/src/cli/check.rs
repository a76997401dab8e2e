//! `xlb check FILE`: reads a configuration and says what is wrong; touches nothing.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::run_args::host_id;
use crate::config::{self, LoadOptions, Loaded, json, render};

/// Read a configuration and say what is wrong; touches nothing
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Configuration to read
    pub file: PathBuf,
    /// Print verdict, diagnostics and the resulting services as JSON
    #[arg(long)]
    pub json: bool,
    /// How to print diagnostics
    #[arg(long, value_enum, default_value_t = Format::Full)]
    pub format: Format,
    /// Name that `@NAME` lines are judged by [default: the host name up to its first dot]
    #[arg(short = 'i', long, value_name = "ID")]
    pub config_id: Option<String>,
}

/// The two layouts for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With source line, caret and hints
    #[default]
    Full,
    /// One line each: `FILE:LINE:COL: level code: text`
    Short,
}

/// Checks a file and prints the outcome: exit status 0 accept, 5 warn, 2 reject.
pub fn check(args: &CheckArgs) -> ExitCode {
    let options = LoadOptions { config_id: args.config_id.clone().unwrap_or_else(host_id) };
    let loaded = config::load(&args.file, &options);
    let text = if args.json { in_json(&loaded) } else { in_words(&loaded, args.format) };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as `head` that left early saw what it wanted; the verdict stands.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(1),
        _ => ExitCode::from(loaded.verdict.exit_status()),
    }
}

fn in_json(loaded: &Loaded) -> String {
    format!("{:#}\n", json::render(loaded))
}

fn in_words(loaded: &Loaded, format: Format) -> String {
    let format = match format {
        Format::Full => render::Format::Full,
        Format::Short => render::Format::Short,
    };
    format!("{}{}\n", render::diagnostics(loaded, format), render::summary(loaded))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{CheckArgs, Format};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        check: CheckArgs,
    }

    #[test]
    fn arguments_are_those_of_the_interface() {
        let cli = Cli::parse_from(["check", "a.conf", "--json", "-i", "lb1", "--format", "short"]);
        assert!(cli.check.json);
        assert_eq!(cli.check.config_id.as_deref(), Some("lb1"));
        assert_eq!(cli.check.format, Format::Short);
    }
}
