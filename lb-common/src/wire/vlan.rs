//! VLAN tags (IEEE 802.1Q, 802.1ad).

use super::Wire;

/// What follows the `EtherType` of a tag: the tag itself and the next `EtherType`. 4 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Vlan {
    /// Priority (3 bits), drop eligible (1), number of the VLAN (12); network order.
    pub control: [u8; 2],
    /// Of what comes next, as it lies in the frame.
    pub ether_type: [u8; 2],
}

// SAFETY: byte arrays.
unsafe impl Wire for Vlan {}

impl Vlan {
    /// Bytes of a tag.
    pub const LEN: usize = 4;
    /// `EtherType` of a customer's tag.
    pub const CUSTOMER: [u8; 2] = [0x81, 0];
    /// `EtherType` of a provider's tag.
    pub const PROVIDER: [u8; 2] = [0x88, 0xa8];

    /// Whether an `EtherType` announces a tag.
    #[inline(always)]
    pub fn follows(ether_type: [u8; 2]) -> bool {
        matches!(ether_type, Self::CUSTOMER | Self::PROVIDER)
    }
}
