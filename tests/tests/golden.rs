//! Golden packets: what is committed under `tests/golden` is what every data path does, and what arithmetic beside xlb
//! finds right. `XLB_GOLDEN=write`, or `cargo xtask golden --write`, writes the files anew; `git diff` is the review.

use std::collections::BTreeMap;

use lb_tests::capability::{Capability, have};
use lb_tests::golden::model::Model;
use lb_tests::golden::shells::{self, Shell};
use lb_tests::golden::text::Topic;
use lb_tests::golden::{file, topics, worlds};

/// As many as the catalogue asks for, those that only prepare others not counted.
const AT_LEAST: usize = 400;

fn writes() -> bool {
    std::env::var_os("XLB_GOLDEN").is_some_and(|value| value == "write")
}

/// The committed topics, by name.
fn committed() -> Vec<(&'static str, Topic)> {
    let read = |name| {
        let path = file(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}; run `cargo xtask golden --write`", path.display())
        });
        text.parse().unwrap_or_else(|error| panic!("{}: {error:#}", path.display()))
    };
    topics::ALL.iter().map(|subject| (subject.name, read(subject.name))).collect()
}

fn count(topics: &[(&str, Topic)]) -> (usize, usize) {
    let packets = || topics.iter().flat_map(|(_, topic)| &topic.scenes).flat_map(|s| &s.packets);
    (packets().filter(|packet| !packet.setup).count(), packets().count())
}

#[test]
fn the_committed_files_are_what_the_generators_make() {
    let mut stale = Vec::new();
    for subject in topics::ALL {
        let (path, text) = (file(subject.name), subject.written().to_string());
        if writes() {
            std::fs::write(&path, text).expect("tests/golden is writable");
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
            stale.push(subject.name);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} would be written otherwise now; run `cargo xtask golden --write` and read `git diff tests/golden`"
    );
}

// P-01, P-02, P-03, P-05, P-07, P-36, P-37, P-38, P-41, P-42: I-2, I-3, I-4, I-5, I-7, I-9, I-10
#[test]
fn arithmetic_beside_xlb_finds_every_golden_right() {
    for (name, topic) in committed() {
        for scene in &topic.scenes {
            let world = worlds::named(&scene.world).expect("a world");
            if let Err(wrong) = Model::scene(&world, scene) {
                panic!("{name}: {wrong}");
            }
        }
    }
}

// The arithmetic sees every wrong bit, and so would see one of xlb's.
#[test]
fn arithmetic_beside_xlb_finds_every_spoilt_golden_wrong() {
    let mut spoilt = 0;
    for (name, topic) in committed() {
        for scene in &topic.scenes {
            let world = worlds::named(&scene.world).expect("a world");
            let mut model = Model::new(&world);
            for packet in &scene.packets {
                let Some(left) = &packet.fate.left else { continue };
                for at in 0..left.len().min(90) {
                    let mut packet = packet.clone();
                    packet.fate.left.as_mut().expect("it left")[at] ^= 1 << (at % 8);
                    let what = format!("{name}, {}, {}: byte {at}", scene.name, packet.title);
                    assert!(model.clone().packet(&packet).is_err(), "{what} was spoilt");
                    spoilt += 1;
                }
                model.packet(packet).expect("right as it is");
            }
        }
    }
    println!("{spoilt} spoilt packets found wrong");
}

// P-08, P-09, P-10, P-18, P-19, P-20, P-22, P-23, P-24, P-31, P-32, P-35, P-40, P-43, P-44, P-45, P-46, P-47, P-49
#[test]
fn every_data_path_does_what_is_written() {
    // P-57, P-58, P-59, P-60, P-64, P-68, P-69, P-70, P-78, P-79, P-80, S-32, S-38, S-39, C-01, C-02, C-31
    let topics = committed();
    let kernel = have(&[Capability::Bpf]);
    let mut shells: BTreeMap<&str, Vec<Box<dyn Shell>>> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, topic) in &topics {
        for scene in &topic.scenes {
            let shells = shells.entry(&scene.world).or_insert_with(|| {
                let world = worlds::named(&scene.world).expect("a world");
                shells::all(&world, kernel).expect("the object loads")
            });
            for shell in shells {
                shell.reset().expect("writable");
                let mut state = shell.state().expect("readable");
                for packet in &scene.packets {
                    let fate = shells::fate(&mut **shell, &packet.bytes, &mut state).expect("runs");
                    let Some(fate) = fate else { continue };
                    *held.entry(shell.name()).or_default() += 1;
                    let mut right = packet.fate.clone();
                    right.verdict = shell.says(&right.verdict);
                    if fate != right {
                        differences.push(format!(
                            "{name}, scene {}, on {}:\n{packet}but:\n{fate}",
                            scene.name,
                            shell.name()
                        ));
                    }
                }
            }
        }
    }
    let (packets, with_setup) = count(&topics);
    println!("{packets} golden packets, {with_setup} with those that prepare them; run: {held:?}");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences[0]);
    assert!(packets >= AT_LEAST, "{packets}");
}
