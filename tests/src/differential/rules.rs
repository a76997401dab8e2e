//! What is allowed to differ from IPVS, by name. `docs/ipvs-differences.md` says why, under the same names.

use super::director::{Seen, Side};

/// All that is known of a step on which the two differ, or might differ from then on.
pub struct Case<'s> {
    pub asked: &'s [Seen],
    /// Reasons and notices that xlb counted.
    pub reasons: &'s [String],
    /// What IPVS sent out, and what xlb did, in comparable form.
    pub ipvs: &'s [Seen],
    pub xlb: &'s [Seen],
    /// Whether xlb's flow of the packet was half-open before.
    pub half_open: bool,
    /// Whether xlb knew a flow of the packet.
    pub known: bool,
}

/// A difference that is meant.
pub struct Rule {
    /// Its name in the document.
    pub name: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

impl Rule {
    /// Whether both go on with the same tables. An ICMP error changes nothing, wherever it ends.
    pub fn is_over(&self) -> bool {
        self.name.starts_with("icmp-")
    }
}

impl Case<'_> {
    fn counted(&self, names: &[&str]) -> bool {
        self.reasons.iter().any(|reason| names.contains(&&**reason))
    }

    fn flags(&self) -> Option<u8> {
        let (_, frame) = self.asked.first()?;
        (*frame.get(23)? == 6).then(|| frame.get(47).copied()).flatten()
    }

    fn header_is_broken(&self) -> bool {
        let broken = |frame: &[u8]| {
            crate::golden::recompute::errors(frame).is_some_and(|errors| errors.header != 0)
        };
        self.asked.iter().any(|(_, frame)| broken(frame))
    }
}

/// In the order in which they are asked.
pub const RULES: &[Rule] = &[
    Rule { name: "bad-tcp-flags", applies: |case| case.counted(&["bad_tcp_flags"]) },
    Rule { name: "bad-tcp-header", applies: |case| case.counted(&["bad_tcp_header"]) },
    Rule { name: "bad-udp-length", applies: |case| case.counted(&["bad_udp_length"]) },
    Rule {
        name: "syn-alone",
        applies: |case| {
            let beside = case.flags().is_some_and(|flags| flags & 2 != 0 && flags & 0x15 != 0);
            beside && (case.known || case.counted(&["no_flow_not_syn"]))
        },
    },
    Rule {
        name: "icmp-kind",
        applies: |case| {
            // IPVS leaves those alone whatever else is wrong with them.
            let kind = case.asked.first().and_then(|(_, frame)| frame.get(34).copied());
            case.counted(&["icmp_type", "icmp_bad_checksum", "icmp_bad_quote", "icmp_forged"])
                && matches!(kind, Some(4 | 5 | 12))
        },
    },
    Rule { name: "icmp-small-mtu", applies: |case| case.counted(&["icmp_small_mtu"]) },
    Rule { name: "icmp-bad-quote", applies: |case| case.counted(&["icmp_bad_quote"]) },
    Rule { name: "icmp-forged", applies: |case| case.counted(&["icmp_forged"]) },
    Rule { name: "icmp-short-quote", applies: |case| case.counted(&["icmp_cut_quote"]) },
    Rule { name: "martian-source", applies: |case| case.counted(&["martian_source"]) },
    Rule { name: "ip-options", applies: |case| case.counted(&["source_route", "bad_ip_option"]) },
    Rule { name: "tiny-fragment", applies: |case| case.counted(&["tiny_fragment"]) },
    Rule {
        name: "broken-header-of-a-known-flow",
        applies: |case| case.header_is_broken() && case.known && case.ipvs.is_empty(),
    },
    Rule {
        name: "half-open",
        applies: |case| case.half_open && case.flags().is_some_and(|flags| flags & 2 != 0),
    },
];

/// The rule that allows a difference.
pub fn explains(case: &Case<'_>) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.applies)(case))
}

/// The names that [`parts`] gives, beside those of rules.
pub const PARTINGS: &[&str] =
    &["first-packet-at-its-last-hop", "last-hop-of-an-answer", "no-flags"];

/// Names for what leaves the two with other tables although what they sent is the same; a sequence ends there, for what
/// comes after it would differ for that reason alone.
pub fn parts(case: &Case<'_>) -> Option<&'static str> {
    // IPVS has recorded the flow by then, which may be another on the port of an old one.
    let opens = case.flags().is_some_and(|flags| flags & 0x17 == 2);
    if case.counted(&["ttl_expired"]) && (opens || !case.known) {
        return Some("first-packet-at-its-last-hop");
    }
    // Here its state has moved; there it never came to IPVS.
    let from_server = case.asked.iter().any(|(side, _)| *side == Side::Servers);
    if case.counted(&["ttl_expired"]) && from_server && case.flags().is_some_and(|f| f & 7 != 0) {
        return Some("last-hop-of-an-answer");
    }
    if case.header_is_broken() && case.known {
        return Some("broken-header-of-a-known-flow");
    }
    let beside = case.flags().is_some_and(|flags| flags & 2 != 0 && flags & 0x15 != 0);
    if beside && case.known && !from_server {
        return Some("syn-alone");
    }
    if case.flags().is_some_and(|flags| flags & 0x17 == 0) && case.known {
        return Some("no-flags");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_explained_in_the_document() {
        let page = include_str!("../../../docs/ipvs-differences.md");
        let names = RULES.iter().map(|rule| rule.name);
        let spellings = super::super::compare::SPELLINGS.iter().copied();
        for name in names.chain(spellings).chain(PARTINGS.iter().copied()) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
