//! VLAN tags on frames of tests.

/// Whether a frame has a tag.
pub fn is_tagged(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]))
}

/// The frame without tags that are a priority and nothing more: where there is no VLAN, what is forwarded had no others.
pub fn without_priority(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    while is_tagged(&frame) && frame.get(14..16).is_some_and(|tag| [tag[0] & 0xf, tag[1]] == [0; 2])
    {
        frame.drain(12..16);
    }
    frame
}

/// The frame with tags, the outer one first: `EtherType`, priority and number.
pub fn tagged(frame: &[u8], tags: &[([u8; 2], u16)]) -> Vec<u8> {
    let mut all = frame[..12].to_vec();
    for (ether_type, control) in tags {
        all.extend(ether_type);
        all.extend(control.to_be_bytes());
    }
    all.extend(&frame[12..]);
    all
}
