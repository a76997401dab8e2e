//! Configuration text for scenarios: one virtual server and its real servers.

use std::fmt::Write as _;

/// Where servers of real server 1, 2, 3 listen.
pub const REALS: [&str; 3] = ["192.168.1.100 8089", "192.168.1.101 18089", "192.168.1.102 28089"];

/// The configuration that users ask about first, word for word.
pub const SAMPLE: &str = "virtual_server 10.64.1.2 10000 { delay_loop 20 lb_algo rr lb_kind NAT persistent_timeout 10 protocol TCP real_server 192.168.1.100 8089 { weight 1 } real_server 192.168.1.101 18089 { weight 1 } }\n";

/// A virtual server as it will be written.
#[derive(Clone, Debug)]
pub struct Service {
    pub vip: String,
    pub scheduler: &'static str,
    pub kind: &'static str,
    pub protocol: &'static str,
    /// Further lines of the block.
    pub more: String,
    /// Address and port, weight, further lines.
    pub reals: Vec<(String, u32, String)>,
}

impl Service {
    /// 10.64.1.2:10000 over TCP, rr, two real servers of weight 1, no checks.
    pub fn new(kind: &'static str) -> Self {
        Self {
            vip: "10.64.1.2 10000".into(),
            scheduler: "rr",
            kind,
            protocol: "TCP",
            more: String::new(),
            reals: Vec::new(),
        }
        .weights(&[1, 1])
    }

    #[must_use]
    pub fn vip(mut self, vip: &str) -> Self {
        vip.clone_into(&mut self.vip);
        self
    }

    #[must_use]
    pub fn scheduler(mut self, scheduler: &'static str) -> Self {
        self.scheduler = scheduler;
        self
    }

    #[must_use]
    pub fn udp(mut self) -> Self {
        self.protocol = "UDP";
        self
    }

    #[must_use]
    pub fn more(mut self, lines: &str) -> Self {
        let _ = writeln!(self.more, "{lines}");
        self
    }

    /// As many real servers as weights.
    #[must_use]
    pub fn weights(mut self, weights: &[u32]) -> Self {
        self.reals = REALS
            .iter()
            .zip(weights)
            .map(|(real, weight)| ((*real).to_owned(), *weight, String::new()))
            .collect();
        self
    }

    /// A `TCP_CHECK` every second on every real server.
    #[must_use]
    pub fn checked(mut self) -> Self {
        for (_, _, more) in &mut self.reals {
            *more = "TCP_CHECK { connect_timeout 1 retry 0 }".into();
        }
        self.more("delay_loop 1")
    }

    /// The text.
    pub fn text(&self) -> String {
        let Self { vip, scheduler, kind, protocol, more, reals } = self;
        let mut text = format!(
            "virtual_server {vip} {{\nlb_algo {scheduler}\nlb_kind {kind}\nprotocol {protocol}\n{more}"
        );
        for (real, weight, more) in reals {
            let _ = writeln!(text, "real_server {real} {{\nweight {weight}\n{more}\n}}");
        }
        text.push_str("}\n");
        text
    }
}
