//! The table of kernels, and how a name such as `6.12` finds a package.
//!
//! It is not in `versions.rs` because that file's text is part of what the eBPF object is made from, and no kernel here
//! changes the object. Versions are prefixes: Debian's mirror takes an old package away when it gets a new one.

use anyhow::{Result, bail, ensure};

/// A kernel that `cargo xtask vm --all` runs on.
pub(super) struct Kernel {
    /// As `--kernel` names it.
    pub(super) name: &'static str,
    /// Suites of Debian that have it; the newest version in any of them is taken.
    suites: &'static [&'static str],
    /// Whether `--smoke` runs on it.
    pub(super) smoke: bool,
}

/// The name that stands for the newest version there is.
const NEWEST: &str = "newest";

/// From old to new.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", suites: &["bullseye"], smoke: false },
    Kernel { name: "6.1", suites: &["bookworm"], smoke: true },
    Kernel { name: "6.12", suites: &["trixie", "bookworm-backports"], smoke: true },
    Kernel { name: "6.18", suites: &["trixie-backports"], smoke: false },
    Kernel { name: NEWEST, suites: &["trixie-backports", "sid"], smoke: false },
];

/// A kernel that was asked for: one of the table, or any other version by its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) suites: Vec<&'static str>,
}

impl Wanted {
    /// `6.12`, `newest`, or any beginning of a version.
    pub(super) fn parse(name: &str) -> Result<Self> {
        if let Some(kernel) = KERNELS.iter().find(|kernel| kernel.name == name) {
            return Ok(kernel.into());
        }
        let numbers =
            name.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if !numbers {
            let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
            bail!(
                "`{name}` is no kernel; hint: one of {}, or the beginning of a version such as 7.0",
                known.join(", ")
            );
        }
        let mut suites: Vec<&str> = Vec::new();
        for suite in KERNELS.iter().flat_map(|kernel| kernel.suites) {
            if !suites.contains(suite) {
                suites.push(suite);
            }
        }
        Ok(Self { name: name.to_owned(), suites })
    }

    /// The newest release in a suite that fits the name, such as `6.1.0-50-amd64`.
    pub(super) fn pick(&self, packages: &[String]) -> Option<String> {
        let fitting = packages
            .iter()
            .filter_map(|package| release_of(package))
            .filter(|release| self.fits(release));
        fitting.max_by_key(|release| numbers_of(release)).map(str::to_owned)
    }

    fn fits(&self, release: &str) -> bool {
        if self.name == NEWEST {
            return true;
        }
        // 6.1 is not the beginning of 6.12.
        release
            .strip_prefix(&*self.name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    }
}

impl From<&Kernel> for Wanted {
    fn from(kernel: &Kernel) -> Self {
        Self { name: kernel.name.to_owned(), suites: kernel.suites.to_vec() }
    }
}

/// What a package's name has to begin with to be part of a kernel.
pub(super) const PARTS: &[&str] =
    &["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

/// The packages that make up a release: one in old Debian, four in new.
pub(super) fn parts_of(release: &str, packages: &[String]) -> Result<Vec<String>> {
    let wanted = PARTS.iter().map(|part| format!("{part}{release}"));
    let found: Vec<String> = wanted.filter(|name| packages.contains(name)).collect();
    ensure!(!found.is_empty(), "no package has the kernel {release}");
    Ok(found)
}

/// The release in the name of an image's package; `None` for the flavours we do not use (cloud has no 9p) and for
/// packages that only depend on another.
fn release_of(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    let version = release.strip_suffix("-amd64")?;
    let numbered = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let own = version.split('-').all(numbered);
    // `linux-image-6.1-amd64` depends on the newest 6.1.
    let whole = version.split(['-', '+']).next()?.split('.').count() >= 3;
    (own && whole).then_some(release)
}

/// All numbers of a release in their order, which is how releases are ordered.
pub(super) fn numbers_of(release: &str) -> Vec<u64> {
    let version = release.strip_suffix("-amd64").unwrap_or(release);
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Vec<String> {
        [
            "linux-image-6.1-amd64",
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-51-amd64-unsigned",
            "linux-image-6.1.0-52-rt-amd64",
            "linux-image-6.12.9+deb13-amd64",
            "linux-image-6.12.115+deb13-amd64",
            "linux-image-6.12.115+deb13.1-amd64",
            "linux-image-7.3.4+deb13-amd64",
            "linux-base-7.3.4+deb13-amd64",
            "linux-binary-7.3.4+deb13-amd64",
            "linux-modules-7.3.4+deb13-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
            "linux-image-amd64",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn picked(name: &str) -> Option<String> {
        Wanted::parse(name).unwrap().pick(&packages())
    }

    #[test]
    fn a_name_finds_the_newest_version_that_begins_so() {
        for (name, release) in [
            ("6.1", Some("6.1.0-50-amd64")),
            ("6.12", Some("6.12.115+deb13.1-amd64")),
            ("6.12.9", Some("6.12.9+deb13-amd64")),
            ("6", Some("6.12.115+deb13.1-amd64")),
            ("newest", Some("7.3.4+deb13-amd64")),
            ("5.10", None),
        ] {
            assert_eq!(picked(name).as_deref(), release, "{name}");
        }
    }

    #[test]
    fn a_kernel_is_one_package_or_several() {
        let parts = |release| parts_of(release, &packages()).unwrap();
        assert_eq!(parts("6.1.0-50-amd64"), ["linux-image-6.1.0-50-amd64"]);
        assert_eq!(parts("7.3.4+deb13-amd64").len(), 4);
        assert!(parts_of("9.9.9-amd64", &packages()).is_err());
    }

    #[test]
    fn a_name_that_is_no_version_is_refused() {
        for name in ["", "6.", "..", "6.1/..", "latest"] {
            let error = Wanted::parse(name).unwrap_err().to_string();
            assert!(error.contains("6.12") && error.contains("newest"), "{error}");
        }
    }

    #[test]
    fn an_unlisted_version_is_looked_for_everywhere_once() {
        let suites = Wanted::parse("7.0").unwrap().suites;
        assert_eq!(suites.iter().filter(|&&suite| suite == "trixie-backports").count(), 1);
        assert!(suites.contains(&"sid"));
    }

    #[test]
    fn names_are_listed_from_old_to_new() {
        let numbers: Vec<_> = KERNELS.iter().map(|kernel| numbers_of(kernel.name)).collect();
        assert!(numbers[..numbers.len() - 1].is_sorted(), "{numbers:?}");
        assert_eq!(KERNELS.last().unwrap().name, NEWEST);
    }
}
