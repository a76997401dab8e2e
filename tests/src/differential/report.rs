//! What sequences came to, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Sums over sequences.
#[derive(Debug, Default)]
pub struct Report {
    pub sequences: u64,
    pub packets: u64,
    /// Frames that came out, the same on both sides.
    pub same: u64,
    /// Steps whose frames were written differently and mean the same, by [`SPELLINGS`](super::compare::SPELLINGS).
    pub spelt: BTreeMap<&'static str, u64>,
    /// Differences by their rules, and ends of sequences for what was about to differ.
    pub explained: BTreeMap<&'static str, u64>,
    /// Old connections whose end at IPVS was waited for, and the longest wait.
    pub awaited: u64,
    pub longest: Duration,
    /// What no rule allows: how it came to it.
    pub unexplained: Vec<String>,
}

impl Report {
    /// Adds another's sums to these.
    pub fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.packets += other.packets;
        self.same += other.same;
        self.awaited += other.awaited;
        self.longest = self.longest.max(other.longest);
        self.unexplained.extend(other.unexplained);
        for (to, from) in [(&mut self.spelt, other.spelt), (&mut self.explained, other.explained)] {
            for (name, count) in from {
                *to.entry(name).or_default() += count;
            }
        }
    }

    /// How far it has come, in a line.
    pub fn progress(&self) -> String {
        format!(
            "{} sequences, {} packets, {} unexplained",
            self.sequences,
            self.packets,
            self.unexplained.len()
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |out: &mut fmt::Formatter<'_>, counts: &BTreeMap<&str, u64>| {
            counts.iter().try_for_each(|(name, count)| writeln!(out, "{count:>9} {name}"))
        };
        let sum: u64 = self.explained.values().sum();
        writeln!(out, "{:>9} sequences", self.sequences)?;
        writeln!(out, "{:>9} packets", self.packets)?;
        writeln!(out, "{:>9} frames came out of both the same", self.same)?;
        writeln!(
            out,
            "{:>9} old connections whose end at IPVS was waited for, at most {:.1?}",
            self.awaited, self.longest
        )?;
        writeln!(out, "written differently, to the same meaning, in so many steps:")?;
        counts(out, &self.spelt)?;
        writeln!(out, "differences that have a rule, {sum} in all:")?;
        counts(out, &self.explained)?;
        write!(out, "unexplained: {}", self.unexplained.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_all_parts() {
        let part = |unexplained| Report {
            sequences: 2,
            packets: 30,
            same: 20,
            spelt: [("pieces", 3)].into(),
            explained: [("half-open", 1)].into(),
            awaited: 1,
            longest: Duration::from_millis(4),
            unexplained,
        };
        let mut all = part(vec![]);
        all.add(part(vec!["step 3".into()]));
        assert_eq!(all.progress(), "4 sequences, 60 packets, 1 unexplained");
        assert_eq!(
            all.to_string().lines().map(str::trim).collect::<Vec<_>>(),
            [
                "4 sequences",
                "60 packets",
                "40 frames came out of both the same",
                "2 old connections whose end at IPVS was waited for, at most 4.0ms",
                "written differently, to the same meaning, in so many steps:",
                "6 pieces",
                "differences that have a rule, 2 in all:",
                "2 half-open",
                "unexplained: 1",
            ]
        );
    }
}
