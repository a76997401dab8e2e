//! A gateway on a real server: tinyproxy, a real forward proxy, that marks every request it makes with its own name
//! and with the address it was asked from.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Host, LabError, Process, Tool, require, until};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running forward proxy.
#[derive(Debug)]
pub struct Gateway {
    name: String,
    address: Ipv4Addr,
    port: u16,
    host: Host,
    process: Option<Process>,
}

impl Gateway {
    /// Starts a proxy on `host` that listens on `address:port` and adds `X-Gateway: <name>` and
    /// `X-Tinyproxy: <address of who asked>` to what it forwards.
    pub fn start(host: &Host, name: &str, address: Ipv4Addr, port: u16) -> Result<Self, LabError> {
        require(&[Tool::TINYPROXY])?;
        let mut gateway =
            Self { name: name.to_owned(), address, port, host: host.clone(), process: None };
        gateway.run()?;
        Ok(gateway)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it again after [`Gateway::stop`].
    pub fn run(&mut self) -> Result<(), LabError> {
        let config = self.host.folder().join(format!("{}.conf", self.name));
        fs::write(&config, self.config()).map_err(LabError::path("write", &config))?;
        let mut command = self.host.command(Tool::TINYPROXY.program);
        command.arg("-d").arg("-c").arg(&config);
        let mut process = self.host.spawn(&self.name, command)?;
        wait_for_port(&self.host, &mut process, self.address, self.port)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it; its port then refuses connections.
    pub fn stop(&mut self) {
        self.process = None;
    }

    fn config(&self) -> String {
        let Self { name, address, port, .. } = self;
        format!(
            "Port {port}\nListen {address}\nTimeout 60\nMaxClients 200\nLogLevel Error\nXTinyproxy Yes\n\
             ViaProxyName \"{name}\"\nAddHeader \"X-Gateway\" \"{name}\"\n"
        )
    }
}

/// Waits until `process` accepts connections at `address:port`, seen from its own host.
pub(super) fn wait_for_port(
    host: &Host,
    process: &mut Process,
    address: Ipv4Addr,
    port: u16,
) -> Result<(), LabError> {
    let what = format!("a listener at {address}:{port}");
    until(&what, START_LIMIT, || {
        if let Err(ended) = process.check_alive() {
            return Ok(Err(ended));
        }
        match host.enter(|| std::net::TcpStream::connect((address, port))) {
            Ok(Ok(_)) => Ok(Ok(())),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(lab) => Ok(Err(lab)),
        }
    })?
}
