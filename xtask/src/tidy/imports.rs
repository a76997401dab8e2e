//! The import arrows of the architecture ("Who may import whom"), checked on the text of the product's sources.
//!
//! Tests are free: they stand last in a file, or in files of their own.

use crate::sources::Source;

/// A folder and what nothing in it may name. `but` are the exceptions, as prefixes of paths or of names.
struct Rule {
    /// Prefix of the paths the rule is about.
    within: &'static str,
    /// Paths below it that may.
    but_files: &'static [&'static str],
    /// What may not be named: `crate::x`, or an external name.
    never: &'static [&'static str],
    /// Names below those that may.
    but_names: &'static [&'static str],
    why: &'static str,
}

const DAEMON: &str = "lb-userspace/src/";

const RULES: &[Rule] = &[
    Rule {
        within: "lb-common/src/wire/",
        but_files: &[],
        never: &["crate::abi", "crate::engine"],
        but_names: &[],
        why: "the wire knows neither maps nor the engine",
    },
    Rule {
        within: "lb-common/src/abi/",
        but_files: &[],
        never: &["crate::engine"],
        but_names: &[],
        why: "the map layout does not know the engine",
    },
    Rule {
        within: "lb-common/src/engine/",
        but_files: &[],
        never: &["aya", "std", "unsafe"],
        but_names: &[],
        why: "the engine is pure, safe and runs in the kernel",
    },
    Rule {
        within: DAEMON,
        but_files: &["lb-userspace/src/dataplane/"],
        never: &["aya", "aya_obj"],
        but_names: &[],
        why: "only dataplane uses aya",
    },
    Rule {
        within: DAEMON,
        but_files: &["lb-userspace/src/node/"],
        never: &["rtnetlink", "netlink_packet_core", "netlink_packet_route"],
        but_names: &[],
        why: "only node uses netlink",
    },
    Rule {
        within: DAEMON,
        but_files: &["lb-userspace/src/cli/", "lb-userspace/src/main.rs"],
        never: &["crate::cli"],
        but_names: &[],
        why: "nothing imports the command line",
    },
    Rule {
        within: "lb-userspace/src/config/",
        but_files: &[],
        never: &[
            "crate::api",
            "crate::control",
            "crate::dataplane",
            "crate::health",
            "crate::lab",
            "crate::node",
            "crate::stats",
            "tokio",
            "lb_common::engine",
        ],
        but_names: &[],
        why: "config imports no sibling and waits for nothing",
    },
    Rule {
        within: "lb-userspace/src/health/",
        but_files: &[],
        never: &[
            "crate::api",
            "crate::control",
            "crate::dataplane",
            "crate::node",
            "crate::stats",
            "crate::lab",
        ],
        but_names: &[],
        why: "health knows the configuration and nothing of maps",
    },
    Rule {
        within: "lb-userspace/src/control/",
        but_files: &[],
        never: &[
            "crate::api",
            "crate::dataplane",
            "crate::node",
            "crate::stats",
            "crate::lab",
            "tokio",
        ],
        but_names: &["crate::dataplane::MapOp", "crate::dataplane::Snapshot"],
        why: "control is pure: it knows map operations, not who applies them",
    },
    Rule {
        within: "lb-userspace/src/dataplane/",
        but_files: &[],
        never: &["crate::api", "crate::control", "crate::health", "crate::node", "crate::lab"],
        but_names: &[],
        why: "dataplane applies what it is told",
    },
    Rule {
        within: "lb-userspace/src/node/",
        but_files: &[],
        never: &[
            "crate::api",
            "crate::control",
            "crate::dataplane",
            "crate::health",
            "crate::stats",
            "crate::lab",
        ],
        but_names: &[],
        why: "node tells what the kernel says, to whoever asks",
    },
    Rule {
        within: "lb-userspace/src/lab/",
        but_files: &[],
        never: &[
            "crate::api",
            "crate::control",
            "crate::dataplane",
            "crate::health",
            "crate::node",
            "crate::stats",
        ],
        but_names: &[],
        why: "the laboratory must not know what xlb does",
    },
    Rule {
        within: DAEMON,
        but_files: &[
            "lb-userspace/src/cli/",
            "lb-userspace/src/health/check/",
            "lb-userspace/src/health/runner.rs",
            "lb-userspace/src/lab/",
        ],
        never: &["Instant::now", "SystemTime::now"],
        but_names: &[],
        why: "time is an argument; only who starts things reads the clock",
    },
];

/// Sentences about every line that breaks a rule.
pub(super) fn broken(rust: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in rust {
        let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.covers(&source.path)).collect();
        if rules.is_empty() {
            continue;
        }
        for (number, names) in named(source) {
            for rule in &rules {
                for name in names.iter().filter(|name| rule.forbids(name)) {
                    broken.push(format!("{}:{number}: names `{name}`; {}", source.path, rule.why));
                }
            }
        }
    }
    broken
}

impl Rule {
    fn covers(&self, path: &str) -> bool {
        path.starts_with(self.within) && !self.but_files.iter().any(|but| path.starts_with(but))
    }

    fn forbids(&self, name: &str) -> bool {
        let under = |prefix: &&str| {
            name.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.never.iter().any(under) && !self.but_names.iter().any(under)
    }
}

/// Paths named in the product part of a file, each with the line it begins in. Grouped imports are taken apart; `super`
/// that reaches the top of the crate becomes `crate`.
fn named(source: &Source) -> Vec<(usize, Vec<String>)> {
    let lines = source.product_lines();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&(number, line)) = lines.get(at) {
        at += 1;
        let trimmed = line.trim_start();
        let import = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .find_map(|start| trimmed.strip_prefix(start));
        let Some(import) = import else {
            found.push((number, paths(line, &source.path)));
            continue;
        };
        let mut statement = import.to_owned();
        while !statement.contains(';') {
            let Some(&(_, more)) = lines.get(at) else { break };
            statement.push_str(more.trim());
            at += 1;
        }
        let mut names = Vec::new();
        let tree = statement.split(';').next().unwrap_or_default();
        expand("", tree, &mut names);
        let names = names.iter().map(|name| from_the_top(name, &source.path)).collect();
        found.push((number, names));
    }
    found
}

/// `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, names: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        names.push(format!("{prefix}{name}"));
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let prefix = format!("{prefix}{}", head.trim());
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&prefix, &group[start..at], names);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        expand(&prefix, &group[start..], names);
    }
}

/// Paths and single words in a line of code that is no import; strings are skipped.
fn paths(line: &str, file: &str) -> Vec<String> {
    let code: String = line.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
        .filter(|word| word.contains("::") || *word == "unsafe")
        .map(|word| from_the_top(word, file))
        .collect()
}

/// A path that climbs by `super` to the top of the crate, written with `crate`; paths of the standard library's clock
/// without what stands before.
fn from_the_top(name: &str, file: &str) -> String {
    for clock in ["Instant::now", "SystemTime::now"] {
        if name.ends_with(clock) {
            return clock.to_owned();
        }
    }
    let climbed = name.split("::").take_while(|part| *part == "super").count();
    let inner = file.split_once("/src/").map_or(file, |(_, inner)| inner);
    let depth = inner.split('/').count() - usize::from(inner.ends_with("/mod.rs"));
    if climbed > 0 && climbed == depth {
        let rest: Vec<&str> = name.split("::").skip(climbed).collect();
        return format!("crate::{}", rest.join("::"));
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> Vec<String> {
        broken(&[Source { path: path.into(), text: text.into() }])
    }

    #[test]
    fn control_may_name_map_operations_and_nothing_else_of_dataplane() {
        let path = "lb-userspace/src/control/plan.rs";
        assert!(told(path, "use crate::dataplane::{MapOp, Snapshot};\n").is_empty());
        assert_eq!(told(path, "use crate::dataplane::{MapOp, Dataplane};\n").len(), 1);
        assert_eq!(told(path, "let x = crate::dataplane::fake::Fake::new();\n").len(), 1);
    }

    #[test]
    fn groups_over_several_lines_are_taken_apart() {
        let text = "use crate::{\n    config::model,\n    node::{self, Link},\n};\n";
        let told = told("lb-userspace/src/health/runner.rs", text);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("lb-userspace/src/health/runner.rs:1: names `crate::node::self`")
        );
    }

    #[test]
    fn super_that_reaches_the_top_is_a_sibling() {
        assert_eq!(told("lb-userspace/src/config/mod.rs", "use super::node::Link;\n").len(), 1);
        assert_eq!(
            told("lb-userspace/src/config/lexer.rs", "use super::super::node::Link;\n").len(),
            1
        );
        assert!(told("lb-userspace/src/config/lexer.rs", "use super::node::Link;\n").is_empty());
    }

    #[test]
    fn comments_strings_and_tests_are_free() {
        let text = "// aya::Ebpf\nlet s = \"aya::Ebpf\";\n#[cfg(test)]\nmod tests {\n    use aya::Ebpf;\n}\n";
        assert!(told("lb-userspace/src/stats/read.rs", text).is_empty());
        assert!(told("lb-userspace/src/stats/tests.rs", "use aya::Ebpf;\n").is_empty());
    }

    #[test]
    fn aya_is_for_dataplane_and_clocks_for_those_who_start_things() {
        let clock = "let now = std::time::Instant::now();\n";
        assert_eq!(told("lb-userspace/src/stats/read.rs", "use aya::maps::MapData;\n").len(), 1);
        assert!(told("lb-userspace/src/dataplane/bpf.rs", "use aya::maps::MapData;\n").is_empty());
        assert_eq!(told("lb-userspace/src/control/step.rs", clock).len(), 1);
        assert!(told("lb-userspace/src/cli/run.rs", clock).is_empty());
    }
}
