//! A capture as data: what is wanted, what was seen, how it ended. Travels over the admin socket as it is.

use std::fmt::Write as _;
use std::net::IpAddr;

use lb_common::abi::{CaptureFilter, DropReason, Notice, PassReason, limits};
use lb_common::wire::{Addr6, Port};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What to capture; an absent field restricts nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Source or destination, before or after translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// Either port, before or after translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Carried>,
    /// A name of `docs/reasons.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only packets that were dropped.
    pub dropped: bool,
    /// How many packets at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Bytes of all frames together at most, as they left and as they arrived.
    pub bytes: u64,
    /// How long at most.
    pub seconds: u64,
    /// Bytes of each frame at most.
    pub length: u32,
    /// One of so many that match.
    pub sample: u32,
}

/// A wish that names a reason which there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no packet is counted as `{0}`; hint: `xlb stats --drops` lists the reasons")]
pub struct NoReason(String);

impl Wish {
    /// As the program reads it.
    pub fn filter(&self) -> Result<CaptureFilter, NoReason> {
        let slot = match &self.reason {
            Some(name) => slot(name).ok_or_else(|| NoReason(name.clone()))?,
            None => 0,
        };
        let host = self.host.map(Addr6::from);
        let with = |bit: u8, wanted: bool| if wanted { bit } else { 0 };
        Ok(CaptureFilter {
            host: host.unwrap_or_default(),
            port: Port::new(self.port.unwrap_or(0)),
            proto: self.protocol.map_or(0, Carried::number),
            flags: with(CaptureFilter::HOST, host.is_some())
                | with(CaptureFilter::DROPPED, self.dropped),
            slot,
            sample: self.sample.max(1),
            length: self.length.clamp(1, limits::CAPTURE_BYTES),
        })
    }
}

/// The index in REASONS of a fate's name.
pub fn slot(name: &str) -> Option<u32> {
    let pass = PassReason::ALL.iter().find(|r| r.name() == name).map(|r| r.slot());
    let drop = DropReason::ALL.iter().find(|r| r.name() == name).map(|r| r.slot());
    let held = (Notice::Held.name() == name).then(|| Notice::Held.slot());
    pass.or(drop).or(held)
}

/// Protocols that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carried {
    Tcp,
    Udp,
    /// ICMP and `ICMPv6`.
    Icmp,
}

impl Carried {
    const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The capture has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The interfaces by number and name.
    pub interfaces: Vec<(u32, String)>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Forward,
    Pass,
    Drop,
}

impl Fate {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }

    /// By where it was counted in REASONS.
    pub const fn of_slot(slot: u32) -> Self {
        match slot {
            0 => Self::Forward,
            1..128 => Self::Pass,
            _ => Self::Drop,
        }
    }
}

/// A frame as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Bytes it had.
    pub length: u32,
    /// As many of them as were taken.
    #[serde(serialize_with = "to_hex", deserialize_with = "of_hex")]
    pub bytes: Vec<u8>,
}

/// A packet that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    pub came_in_by: u32,
    pub fate: Fate,
    /// Name of the reason; `None` where it was forwarded.
    pub reason: Option<String>,
    pub arrived: Image,
    /// Where it was rewritten, or became an ICMP error: by which interface it leaves, and as what.
    pub left: Option<(u32, Image)>,
}

impl Packet {
    /// What it says of the image before the program.
    pub fn comment(&self) -> String {
        let Some(reason) = &self.reason else {
            return format!("{}: before translation", self.fate.name());
        };
        format!("{} {reason}: {}", self.fate.name(), sentence(reason))
    }

    /// What it says of the image after it.
    pub fn comment_on_left(&self) -> String {
        match &self.reason {
            None => format!("{}: after translation", self.fate.name()),
            Some(reason) => {
                format!("{} {reason}: the ICMP error that tells its sender", self.fate.name())
            }
        }
    }
}

fn sentence(name: &str) -> &'static str {
    let pass = PassReason::ALL.iter().find(|r| r.name() == name).map(|r| r.sentence());
    let drop = DropReason::ALL.iter().find(|r| r.name() == name).map(|r| r.sentence());
    let held = (Notice::Held.name() == name).then(|| Notice::Held.sentence());
    pass.or(drop).or(held).unwrap_or_default()
}

/// The name of what was counted at an index of REASONS; `None` for 0.
pub fn reason_at(slot: u32) -> Option<&'static str> {
    match slot {
        0 => None,
        1..128 => PassReason::from_number(slot as u8).map(PassReason::name),
        128..224 => DropReason::from_number((slot - 128) as u8).map(DropReason::name),
        _ => Notice::from_number((slot - 224) as u8).map(Notice::name),
    }
}

/// How a capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Packets that were sent.
    pub packets: u64,
    /// Packets that matched, those that sampling left out included.
    pub matched: u64,
    /// Packets that found no room.
    pub lost: u64,
    /// Which bound was reached, or who ended it.
    pub why: String,
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    serializer.serialize_str(&text)
}

fn of_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bad = || de::Error::custom("bytes are pairs of hexadecimal digits");
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8).ok_or_else(bad);
    if !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    text.as_bytes().chunks_exact(2).map(|two| Ok(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::wire::Addr4;

    fn wish() -> Wish {
        Wish {
            host: None,
            port: None,
            protocol: None,
            reason: None,
            dropped: false,
            count: None,
            bytes: 1_000,
            seconds: 60,
            length: 9_216,
            sample: 1,
        }
    }

    #[test]
    fn wishes_become_filters() {
        let filter = wish().filter().unwrap();
        let any = CaptureFilter { sample: 1, length: 9_216, ..CaptureFilter::default() };
        assert_eq!(filter, any);
        let all = Wish {
            host: Some("192.0.2.7".parse().unwrap()),
            port: Some(80),
            protocol: Some(Carried::Icmp),
            reason: Some("no_usable_real".to_owned()),
            dropped: true,
            sample: 10,
            ..wish()
        };
        let filter = all.filter().unwrap();
        assert_eq!(filter.host, Addr6::mapped(Addr4([192, 0, 2, 7])));
        assert_eq!((filter.port, filter.proto, filter.flags), (Port::new(80), 1, 3));
        assert_eq!((filter.slot, filter.sample), (DropReason::NoUsableReal.slot(), 10));
        let unknown = Wish { reason: Some("bad_luck".to_owned()), ..wish() };
        let error = unknown.filter().unwrap_err().to_string();
        assert!(error.contains("`bad_luck`; hint: `xlb stats --drops`"), "{error}");
    }

    #[test]
    fn every_fate_can_be_asked_for_and_is_named_as_it_is_counted() {
        let passes = PassReason::ALL.iter().map(|r| (r.name(), r.slot(), Fate::Pass));
        let drops = DropReason::ALL.iter().map(|r| (r.name(), r.slot(), Fate::Drop));
        let held = [(Notice::Held.name(), Notice::Held.slot(), Fate::Drop)];
        for (name, counted_at, fate) in passes.chain(drops).chain(held) {
            assert_eq!(slot(name), Some(counted_at));
            assert_eq!(reason_at(counted_at), Some(name));
            assert_eq!(Fate::of_slot(counted_at), fate);
            assert!(!sentence(name).is_empty(), "{name}");
        }
        assert_eq!((slot("promoted"), reason_at(0), Fate::of_slot(0)), (None, None, Fate::Forward));
    }

    #[test]
    fn frames_travel_as_hexadecimal_digits() {
        let image = Image { length: 60, bytes: vec![0, 0x0f, 0xf0, 0xff] };
        let json = serde_json::to_string(&image).unwrap();
        assert_eq!(json, "{\"length\":60,\"bytes\":\"000ff0ff\"}");
        assert_eq!(serde_json::from_str::<Image>(&json).unwrap(), image);
        for bad in ["{\"length\":1,\"bytes\":\"0\"}", "{\"length\":1,\"bytes\":\"0g\"}"] {
            assert!(serde_json::from_str::<Image>(bad).is_err(), "{bad}");
        }
    }
}
