//! One connection, and which ones the user asked for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::report::Protocol;

/// A line of `xlb conns`; its JSON is an object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnRow {
    pub protocol: Protocol,
    /// Port 0 in a template.
    pub client: SocketAddr,
    #[serde(rename = "virtual")]
    pub service: SocketAddr,
    /// The source of full-NAT.
    pub local: Option<SocketAddr>,
    pub real: SocketAddr,
    /// A name of `ConnState`; `ASSURED` for a template, as IPVS prints it.
    pub state: String,
    pub expires_s: u64,
    /// This and the next three are known only with per-flow accounting.
    pub in_packets: Option<u64>,
    pub out_packets: Option<u64>,
    pub in_bytes: Option<u64>,
    pub out_bytes: Option<u64>,
    /// A persistence template, not a connection.
    pub template: bool,
}

/// Which connections to show; an absent field restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Endpoint>,
    #[serde(rename = "virtual", skip_serializing_if = "Option::is_none")]
    pub service: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<Endpoint>,
    /// Compared without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// How many rows at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl ConnFilter {
    /// Whether `row` is wanted; [`ConnFilter::limit`] is the caller's business.
    pub fn matches(&self, row: &ConnRow) -> bool {
        let at = |wanted: &Option<Endpoint>, have: &SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(have))
        };
        self.protocol.is_none_or(|wanted| wanted == row.protocol)
            && at(&self.client, &row.client)
            && at(&self.service, &row.service)
            && at(&self.real, &row.real)
            && self.state.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&row.state))
    }
}

/// An address or network, a port, or both: `10.0.0.1`, `10.0.0.0/24`, `10.0.0.1:80`, `10.0.0.0/24:80`, `:80`,
/// `2001:db8::1`, `[2001:db8::1]:80`, `[2001:db8::/64]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    net: Option<IpNet>,
    port: Option<u16>,
}

impl Endpoint {
    /// Whether `address` is within.
    pub fn matches(&self, address: &SocketAddr) -> bool {
        self.net.is_none_or(|net| net.contains(&address.ip()))
            && self.port.is_none_or(|port| port == address.port())
    }
}

/// A text that is no [`Endpoint`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address; expected IP, IP/PREFIX, IP:PORT or :PORT, with IPv6 in brackets before a port"
)]
pub struct BadEndpoint(String);

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint(text.to_owned());
        if let Some(net) = parse_net(text) {
            return Ok(Self { net: Some(net), port: None });
        }
        let (net, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(bad)?,
            // The port is kept with its colon, as behind a bracket.
            None => text.split_at(text.rfind(':').ok_or_else(bad)?),
        };
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':').and_then(|p| p.parse().ok()).ok_or_else(bad)?),
        };
        let net = match net {
            "" if port.is_some() => None,
            net => Some(parse_net(net).ok_or_else(bad)?),
        };
        Ok(Self { net, port })
    }
}

fn parse_net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.net, self.port) {
            (Some(IpNet::V6(net)), Some(port)) => write!(f, "[{net}]:{port}"),
            (Some(net), Some(port)) => write!(f, "{net}:{port}"),
            (Some(net), None) => write!(f, "{net}"),
            (None, Some(port)) => write!(f, ":{port}"),
            // Not made by `from_str`.
            (None, None) => Ok(()),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = BadEndpoint;

    fn try_from(text: String) -> Result<Self, BadEndpoint> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ConnRow {
        ConnRow {
            protocol: Protocol::Tcp,
            client: "192.0.2.7:40001".parse().unwrap(),
            service: "10.64.1.2:10000".parse().unwrap(),
            local: None,
            real: "192.168.1.100:8089".parse().unwrap(),
            state: "ESTABLISHED".into(),
            expires_s: 899,
            in_packets: None,
            out_packets: None,
            in_bytes: None,
            out_bytes: None,
            template: false,
        }
    }

    #[test]
    fn row_is_the_promised_json() {
        let mut row = row();
        row.local = Some("[2001:db8::5]:4242".parse().unwrap());
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            "{\"protocol\":\"tcp\",\"client\":\"192.0.2.7:40001\",\"virtual\":\"10.64.1.2:10000\",\
             \"local\":\"[2001:db8::5]:4242\",\"real\":\"192.168.1.100:8089\",\"state\":\"ESTABLISHED\",\
             \"expires_s\":899,\"in_packets\":null,\"out_packets\":null,\"in_bytes\":null,\
             \"out_bytes\":null,\"template\":false}"
        );
    }

    #[test]
    fn endpoints_are_read_in_every_form_and_written_back() {
        for (text, hit, miss) in [
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.0/24", "192.0.2.200:1", "192.0.3.1:1"),
            ("192.0.2.7:80", "192.0.2.7:80", "192.0.2.7:81"),
            ("192.0.2.0/24:80", "192.0.2.9:80", "192.0.2.9:81"),
            (":80", "198.51.100.1:80", "198.51.100.1:81"),
            ("2001:db8::1", "[2001:db8::1]:9", "[2001:db8::2]:9"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80", "[2001:db8::1]:81"),
            ("[2001:db8::/64]:80", "[2001:db8::9]:80", "[2001:db9::9]:80"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(endpoint.matches(&hit.parse().unwrap()), "{text} has {hit}");
            assert!(!endpoint.matches(&miss.parse().unwrap()), "{text} has not {miss}");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint, "{text}");
        }
        for text in
            ["", ":", "x", "192.0.2.7:", "192.0.2.7:65536", "192.0.2.0/33", "[::1", "[::1]80"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_part_of_a_filter_restricts() {
        let row = row();
        let all = ConnFilter::default();
        assert!(all.matches(&row));
        let with = |change: fn(&mut ConnFilter)| {
            let mut filter = all.clone();
            change(&mut filter);
            filter.matches(&row)
        };
        assert!(with(|f| f.client = Some("192.0.2.0/24".parse().unwrap())));
        assert!(!with(|f| f.client = Some("192.0.3.0/24".parse().unwrap())));
        assert!(with(|f| f.service = Some(":10000".parse().unwrap())));
        assert!(!with(|f| f.service = Some(":10001".parse().unwrap())));
        assert!(!with(|f| f.real = Some("192.168.1.101".parse().unwrap())));
        assert!(with(|f| f.state = Some("established".into())));
        assert!(!with(|f| f.state = Some("TIME_WAIT".into())));
        assert!(!with(|f| f.protocol = Some(Protocol::Udp)));
    }
}
