//! VLANs on the interfaces that run the program. In modes xdp and xdp-generic their frames come by there, with their tags;
//! nobody names their interfaces in `--iface`.

use lb_common::abi::{Tag, Tags};
use lb_common::wire::vlan::Vlan;

use super::preflight::InterfaceFacts;

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
    there.iter().filter(|facts| facts.up).filter_map(tagged).collect()
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
}
