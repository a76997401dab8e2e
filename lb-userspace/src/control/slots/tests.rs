//! Tables against what IPVS was recorded to pick, and at their limits.

use super::*;

/// `hash_32` of include/linux/hash.h, eight bits of it.
fn hash(value: u32) -> usize {
    (value.wrapping_mul(0x61C8_8647) >> 24) as usize
}

fn address(text: &str) -> u32 {
    text.parse::<std::net::Ipv4Addr>().unwrap().to_bits()
}

struct Series {
    name: String,
    scheduler: String,
    flags: String,
    reals: Vec<(RealId, u32)>,
    /// Client, its port, destination, server picked.
    picks: Vec<(u32, u16, u32, String)>,
}

fn recorded() -> Vec<Series> {
    let mut list: Vec<Series> = Vec::new();
    let mut name = String::new();
    for line in include_str!("../testdata/ipvs-picks.txt").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut name);
        } else if let Some(series) = list.last_mut().filter(|_| line.starts_with(' ')) {
            let (client, port) = words[0].split_once(':').unwrap();
            let pick =
                (address(client), port.parse().unwrap(), address(words[1]), words[2].to_owned());
            series.picks.push(pick);
        } else {
            let weights = words[2].split(',').map(|w| w.parse().unwrap());
            list.push(Series {
                name: name.clone(),
                scheduler: words[0].to_owned(),
                flags: words[1].to_owned(),
                reals: (1..).map(RealId).zip(weights).collect(),
                picks: Vec::new(),
            });
        }
    }
    list
}

impl Series {
    fn layout(&self) -> Layout {
        match self.scheduler.as_str() {
            "rr" => Layout::Cycle,
            "wrr" => Layout::WeightedCycle,
            "sh" => Layout::SourceHash { fallback: self.flags.contains("sh-fallback") },
            _ => Layout::DestinationHash,
        }
    }

    fn index(&self, pick: usize, len: usize) -> usize {
        let (client, port, destination, _) = &self.picks[pick];
        match self.scheduler.as_str() {
            "sh" if self.flags.contains("sh-port") => {
                hash(client.wrapping_add(u32::from(*port))) % len
            }
            "sh" => hash(*client) % len,
            "dh" => hash(*destination) % len,
            _ => pick % len,
        }
    }
}

#[test]
fn every_recorded_series_without_changes_is_picked_alike() {
    let all = recorded();
    assert_eq!(all.len(), 26);
    for series in &all {
        let table = table(series.layout(), &series.reals);
        for (n, (.., expected)) in series.picks.iter().enumerate() {
            let picked = match table.get(series.index(n, table.len().max(1))) {
                Some(id) if *id != NOBODY => format!("s{}", id.0),
                _ => "ECONNREFUSED".to_owned(),
            };
            assert_eq!(picked, *expected, "{}: pick {n} of {table:?}", series.name);
        }
    }
}

fn count(table: &[RealId], id: u32) -> usize {
    table.iter().filter(|slot| **slot == RealId(id)).count()
}

#[test]
fn weights_of_wrr_share_the_table_exactly() {
    let reals = [(RealId(1), 4), (RealId(2), 0), (RealId(3), 6)];
    let table = table(Layout::WeightedCycle, &reals);
    assert_eq!((count(&table, 1), count(&table, 2), count(&table, 3)), (2, 0, 3));
}

#[test]
fn large_weights_of_wrr_are_scaled_and_nobody_is_lost() {
    let reals = [(RealId(1), 1), (RealId(2), 2_147_483_647), (RealId(3), 1_000_000_007)];
    let table = table(Layout::WeightedCycle, &reals);
    assert!(table.len() as u64 <= WRR_MAX);
    assert_eq!(count(&table, 1), 1);
    // 2.147 : 1.
    let per_mille = count(&table, 2) * 1000 / count(&table, 3);
    assert!((2140..2155).contains(&per_mille), "{per_mille}");
}

#[test]
fn nobody_usable_means_no_table() {
    for layout in [
        Layout::Cycle,
        Layout::WeightedCycle,
        Layout::Scan,
        Layout::SourceHash { fallback: true },
        Layout::DestinationHash,
    ] {
        assert!(table(layout, &[]).is_empty());
        assert!(table(layout, &[(RealId(1), 0)]).is_empty());
        assert!(!table(layout, &[(RealId(1), 0), (RealId(2), 1)]).is_empty());
    }
}

#[test]
fn hash_tables_have_256_buckets_whatever_the_weights() {
    for weight in [1, 7, 300, u32::MAX] {
        let reals = [(RealId(1), weight), (RealId(2), 1)];
        assert_eq!(table(Layout::SourceHash { fallback: false }, &reals).len(), BUCKETS);
        assert_eq!(table(Layout::DestinationHash, &reals).len(), BUCKETS);
    }
}

#[test]
fn lc_over_more_than_256_real_servers_is_refused() {
    check(Layout::Scan, 256).unwrap();
    let error = check(Layout::Scan, 257).unwrap_err();
    assert!(error.to_string().contains("257"));
    check(Layout::Cycle, 257).unwrap();
}
