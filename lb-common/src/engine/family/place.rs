//! Where the transport header is, in packets with something between it and the IP header.

use crate::abi::DropReason;
use crate::engine::Verdict;

/// One word, because a function of its own in the kernel program can return no more: from the lowest bit 16 for where the
/// transport header starts, 16 for where the fragment header does, 8 for the protocol, 8 for the marks of
/// [`fragment`](super::super::fragment), 8 for the drop reason. Or a verdict's first word and [`Place::NOWHERE`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Place(pub u64);

impl Place {
    const NOWHERE: u64 = 1 << 63;

    /// A transport header at `l4`.
    #[inline(always)]
    pub const fn at(l4: usize, proto: u8, marks: u8) -> Self {
        Self(l4 as u64 & 0xffff | (proto as u64) << 32 | (marks as u64) << 40)
    }

    /// No transport header: that is what becomes of the packet.
    #[inline(always)]
    pub const fn nowhere(verdict: Verdict) -> Self {
        Self(verdict.first_word() as u64 | Self::NOWHERE)
    }

    /// The same packet, whose transport header is `bytes` further on.
    #[inline(always)]
    #[must_use]
    pub const fn behind(self, bytes: usize) -> Self {
        Self(self.0 & !0xffff | (self.l4() + bytes) as u64 & 0xffff)
    }

    /// The same packet, which carries `proto`.
    #[inline(always)]
    #[must_use]
    pub const fn carrying(self, proto: u8) -> Self {
        Self(self.0 | (proto as u64) << 32)
    }

    /// The same packet with a mark of fragments.
    #[inline(always)]
    #[must_use]
    pub const fn marked(self, mark: u8) -> Self {
        Self(self.0 | (mark as u64) << 40)
    }

    /// The same packet, whose fragment header starts at `at`.
    #[inline(always)]
    #[must_use]
    pub const fn with_fragment_header(self, at: usize) -> Self {
        Self(self.0 | (at as u64 & 0xffff) << 16)
    }

    /// The same packet, which is to be dropped for `reason` if it turns out to be for us.
    #[inline(always)]
    #[must_use]
    pub const fn refused(self, reason: Option<DropReason>) -> Self {
        match reason {
            Some(reason) => Self(self.0 & !(0xff << 48) | (reason as u64) << 48),
            None => self,
        }
    }

    /// What becomes of it, where there is no transport header.
    #[inline(always)]
    pub const fn verdict(self) -> Option<Verdict> {
        if self.0 & Self::NOWHERE == 0 {
            None
        } else {
            Some(Verdict::from_first_word(self.0 as u32))
        }
    }

    /// Where the transport header starts.
    #[inline(always)]
    pub const fn l4(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Where the fragment header starts; 0: there is none.
    #[inline(always)]
    pub const fn fragment_header(self) -> usize {
        (self.0 >> 16 & 0xffff) as usize
    }

    /// Protocol number.
    #[inline(always)]
    pub const fn proto(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Marks of fragments.
    #[inline(always)]
    pub const fn marks(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Number of the [`DropReason`]; 0: none.
    #[inline(always)]
    pub const fn refusal(self) -> u8 {
        (self.0 >> 48) as u8
    }
}
