//! VLANs on the interfaces that run the program. In modes xdp and xdp-generic their frames come by there, with their tags;
//! nobody names their interfaces in `--iface`.

use lb_common::abi::{Tag, Tags};
use lb_common::wire::vlan::Vlan;

use super::preflight::{InterfaceFacts, joined};

/// A tag as it lies in a frame, without priority.
pub fn tag(number: u16, provider: bool) -> Tag {
    let kind = if provider { Vlan::PROVIDER } else { Vlan::CUSTOMER };
    Tag::new(kind, number.to_be_bytes()).vlan()
}

/// Those of `there` that are a VLAN on one of `attached`, or a VLAN on such a VLAN; the interface below, the tags of their
/// frames.
pub(super) fn on<'f>(
    attached: &'f [InterfaceFacts],
    there: &'f [InterfaceFacts],
) -> Vec<(&'f InterfaceFacts, &'f InterfaceFacts, Tags)> {
    let find =
        |all: &'f [InterfaceFacts], ifindex: u32| all.iter().find(|facts| facts.ifindex == ifindex);
    let tagged = |facts: &'f InterfaceFacts| {
        let vlan = facts.vlan?;
        if let Some(device) = find(attached, vlan.on) {
            return Some((facts, device, Tags([vlan.tag, Tag::default()])));
        }
        let outer = find(there, vlan.on)?.vlan?;
        let device = find(attached, outer.on)?;
        Some((facts, device, Tags([outer.tag, vlan.tag])))
    };
    // One that carries the program itself has no tag there; a bridge's port is the bridge's.
    let own = |facts: &&InterfaceFacts| {
        facts.up && find(attached, facts.ifindex).is_none() && joined(facts, there).is_none()
    };
    there.iter().filter(own).filter_map(tagged).collect()
}

/// Bytes of the largest IP packet out of a VLAN's interface. Frames that XDP sends on may be one tag longer than those of
/// the interface below (`xdp_ok_fwd_dev` in net/core/filter.c): a second one has to fit in.
pub(super) fn mtu(vlan: &InterfaceFacts, device: &InterfaceFacts, tags: Tags) -> u32 {
    let second = if tags.are_two() { Vlan::LEN as u32 } else { 0 };
    vlan.mtu.min(device.mtu.saturating_sub(second))
}

/// How many VLANs there are on the interfaces called `names`.
pub fn count(names: &[&str], there: &[InterfaceFacts]) -> usize {
    let below = there.iter().filter(|facts| names.contains(&facts.name.as_str()));
    on(&below.cloned().collect::<Vec<_>>(), there).len()
}

#[cfg(test)]
mod tests {
    use super::super::preflight::VlanOf;
    use super::*;

    fn facts(ifindex: u32, vlan: Option<(u32, u16, bool)>) -> InterfaceFacts {
        let vlan = vlan.map(|(on, number, provider)| VlanOf { on, tag: tag(number, provider) });
        InterfaceFacts { ifindex, up: true, vlan, ..InterfaceFacts::default() }
    }

    // P-14, P-15
    #[test]
    fn vlans_on_served_interfaces_are_found_two_deep_and_no_others() {
        let there = [
            facts(1, None),
            facts(2, None),
            facts(3, Some((1, 100, false))),
            facts(4, Some((1, 200, true))),
            facts(5, Some((4, 7, false))),
            facts(6, Some((5, 8, false))),
            facts(7, Some((2, 100, false))),
            InterfaceFacts { up: false, ..facts(8, Some((1, 9, false))) },
            InterfaceFacts { master: Some(10), ..facts(9, Some((1, 10, false))) },
            InterfaceFacts { driver: "bridge".into(), ..facts(10, None) },
        ];
        let found = on(&there[..1], &there);
        let found = found.iter().map(|(vlan, device, tags)| {
            (vlan.ifindex, device.ifindex, tags.0.map(|tag| tag.0.to_ne_bytes()))
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (3, 1, [[0x81, 0, 0, 100], [0; 4]]),
                (4, 1, [[0x88, 0xa8, 0, 200], [0; 4]]),
                (5, 1, [[0x88, 0xa8, 0, 200], [0x81, 0, 0, 7]]),
            ]
        );
    }

    #[test]
    fn a_vlan_that_carries_the_program_itself_has_no_tag() {
        let there = [facts(1, None), facts(3, Some((1, 100, false)))];
        assert_eq!(on(&there, &there), []);
    }

    // P-15
    #[test]
    fn a_second_tag_takes_its_bytes_from_the_packet() {
        let of = |mtu| InterfaceFacts { mtu, ..facts(1, None) };
        let (one, two) =
            (Tags([tag(7, false), Tag::default()]), Tags([tag(7, true), tag(8, false)]));
        assert_eq!(mtu(&of(1500), &of(1500), one), 1500);
        assert_eq!(mtu(&of(1500), &of(1500), two), 1496);
        assert_eq!(mtu(&of(1500), &of(1600), two), 1500);
    }
}
