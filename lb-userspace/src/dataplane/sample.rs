//! What a program writes into a perf buffer: a head of fixed size, and as many bytes of a frame as that says.

use bytemuck::AnyBitPattern;

/// From a sample, which a buffer that wraps round gives in two parts, the second with the kernel's padding; `None`: it is
/// cut short.
pub(super) fn parse<H: AnyBitPattern>(
    first: &[u8],
    second: &[u8],
    length: impl FnOnce(&H) -> u32,
) -> Option<(H, Vec<u8>)> {
    let sample = [first, second].concat();
    let (head, rest) = sample.split_at_checked(size_of::<H>())?;
    let head: H = bytemuck::pod_read_unaligned(head);
    let bytes = rest.get(..length(&head) as usize)?.to_vec();
    Some((head, bytes))
}
