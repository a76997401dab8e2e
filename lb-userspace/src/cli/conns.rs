//! `xlb conns`: the connection table, row by row.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::api::ClientError;
use crate::stats::conn::{ConnFilter, Endpoint};
use crate::stats::report::Protocol;
use crate::stats::text;

/// Connections and persistence templates, as `ipvsadm -Lnc` shows them
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ConnsArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Only from this client: IP, IP/PREFIX, IP:PORT or :PORT
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<Endpoint>,
    /// Only to this virtual server
    #[arg(long = "virtual", value_name = "ADDRESS")]
    pub service: Option<Endpoint>,
    /// Only by this real server
    #[arg(long, value_name = "ADDRESS")]
    pub real: Option<Endpoint>,
    /// Only in this state, such as ESTABLISHED; ASSURED: templates
    #[arg(long)]
    pub state: Option<String>,
    /// Only of this protocol: tcp or udp
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    pub proto: Option<Protocol>,
    /// At most so many rows
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

impl ConnsArgs {
    fn filter(&self) -> ConnFilter {
        ConnFilter {
            client: self.client,
            service: self.service,
            real: self.real,
            state: self.state.clone(),
            protocol: self.proto,
            limit: self.limit,
        }
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err("expected tcp or udp".to_owned()),
    }
}

/// Runs the command.
pub fn conns(args: &ConnsArgs) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    match stream(args, &mut out) {
        Ok(()) => output::outcome(out.flush()),
        Err(ClientError::Output(error)) => output::outcome(Err(error)),
        Err(error) => {
            // What arrived before the failure is shown all the same.
            let _ = out.flush();
            exit::fail_client(&error)
        }
    }
}

fn stream(args: &ConnsArgs, out: &mut impl Write) -> Result<(), ClientError> {
    let mut client = args.instance.connect()?;
    if !args.json {
        text::conns_title(out).map_err(ClientError::Output)?;
    }
    client.conns(&args.filter(), |row| {
        if args.json {
            serde_json::to_writer(&mut *out, row)?;
            writeln!(out)
        } else {
            text::conn(out, row)
        }
    })?;
    Ok(())
}
