//! Which instance a command is about, and where that one's pins and socket are.

use std::path::{Path, PathBuf};

use crate::api::{Client, ClientError};

/// Arguments of every command that deals with an instance.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct InstanceArgs {
    /// Names the pin directory and the socket, so that several can run on one host
    #[arg(long, value_name = "NAME", default_value = "xlb", value_parser = instance_name)]
    pub instance: String,
    /// Where the maps, programs and links are pinned [default: /sys/fs/bpf/<INSTANCE>]
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
    /// Where the admin socket is [default: /run/<INSTANCE>]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

impl InstanceArgs {
    /// `--pin-dir` or its default.
    pub fn pin_dir(&self) -> PathBuf {
        self.pin_dir.clone().unwrap_or_else(|| Path::new("/sys/fs/bpf").join(&self.instance))
    }

    /// `--run-dir` or its default.
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(|| Path::new("/run").join(&self.instance))
    }

    /// A connection to the running daemon.
    pub fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.run_dir(), &self.instance)
    }
}

/// A name becomes a directory's name, also in bpffs, which refuses dots.
fn instance_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.chars().all(plain) {
        return Err("expected up to 64 letters, digits, `-` and `_`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_the_name_unless_given() {
        let mut args = InstanceArgs { instance: "west".into(), pin_dir: None, run_dir: None };
        assert_eq!(args.pin_dir(), Path::new("/sys/fs/bpf/west"));
        assert_eq!(args.run_dir(), Path::new("/run/west"));
        args.pin_dir = Some("/p".into());
        args.run_dir = Some("/r".into());
        assert_eq!((args.pin_dir(), args.run_dir()), ("/p".into(), "/r".into()));
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["xlb", "west-1", "a_b", "7"] {
            assert!(instance_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", "a/b", "-x", "a b", "a.b", &"x".repeat(65)] {
            assert!(instance_name(name).is_err(), "{name}");
        }
    }
}
