//! TCP (RFC 9293), the fixed 20 bytes.

use network_types::tcp::TcpHdr;

use super::{Port, Wire, checksum};

/// A TCP header without options. 20 bytes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Tcp([u8; TcpHdr::LEN]);

// SAFETY: an array of bytes.
unsafe impl Wire for Tcp {}

/// The flags byte of a TCP header. 0 stands for protocols that have none.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Hand the data over now.
    pub const PSH: u8 = 0x08;
    /// The urgent pointer is valid.
    pub const URG: u8 = 0x20;
    /// The flags that a state machine asks for.
    pub const OF_STATE: u8 = Self::FIN | Self::SYN | Self::RST | Self::ACK;

    /// Whether any of `bits` is set.
    #[inline(always)]
    pub const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Combinations that no TCP sends and scanners do: none at all, SYN with FIN or RST, everything but SYN and ACK.
    #[inline(always)]
    pub const fn is_nonsense(self) -> bool {
        const ALL: u8 = TcpFlags::OF_STATE | TcpFlags::PSH | TcpFlags::URG;
        const XMAS: u8 = TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG;
        let bits = self.0 & ALL;
        bits == 0
            || bits & Self::SYN != 0 && bits & (Self::FIN | Self::RST) != 0
            || bits & (XMAS | Self::ACK) == XMAS
    }

    /// A SYN that opens a connection: neither an answer nor an end (catalogue P-57).
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// Kinds of options (RFC 9293, 3.1).
pub mod option {
    /// Nothing comes behind.
    pub const END: u8 = 0;
    /// One byte of padding.
    pub const NO_OPERATION: u8 = 1;
    /// The largest segment that its sender takes.
    pub const MSS: u8 = 2;
    /// Bytes of [`MSS`], kind and length included.
    pub const MSS_LENGTH: usize = 4;
}

impl Tcp {
    /// Bytes of the header without options.
    pub const LEN: usize = TcpHdr::LEN;
    /// Bytes of the header with as many options as there may be (RFC 9293, 3.1).
    pub const LONGEST: usize = 60;

    /// Source port.
    #[inline(always)]
    pub fn src(&self) -> Port {
        Port([self.0[0], self.0[1]])
    }

    /// Destination port.
    #[inline(always)]
    pub fn dst(&self) -> Port {
        Port([self.0[2], self.0[3]])
    }

    /// Bytes of the header, options included.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        4 * usize::from(self.0[12] >> 4)
    }

    /// The flags.
    #[inline(always)]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.0[13])
    }

    /// New ports, and the checksum moved by `delta`, which covers ports and pseudo-header.
    #[inline(always)]
    pub fn forward(&mut self, src: Port, dst: Port, delta: u16) {
        [self.0[0], self.0[1]] = src.0;
        [self.0[2], self.0[3]] = dst.0;
        [self.0[16], self.0[17]] = checksum::update([self.0[16], self.0[17]], delta);
    }
}

const _: () = assert!(size_of::<Tcp>() == 20 && align_of::<Tcp>() == 1);
