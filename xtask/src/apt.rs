//! An apt of our own: its lists, cache and sources lie under a folder of this project, and the system's stay as they
//! are. It knows one suite of Debian, from the mirror that this machine's own apt uses.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{as_root, output, run, which};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite, as apt sees it from here.
pub(crate) struct Apt {
    suite: String,
    config: PathBuf,
}

/// What the mirror says of a suite.
pub(crate) enum Suite {
    /// The lists are here.
    Listed,
    /// The mirror answers, and has no such suite.
    NotOffered,
}

impl Apt {
    /// Writes the configuration; asks nobody yet.
    pub(crate) fn new(home: &Path, suite: &str) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg"] {
            ensure!(which(program).is_some(), "no {program} here; hint: this part needs Debian");
        }
        for folder in ["lists/partial", "cache/archives/partial", "sources.d", "preferences.d"] {
            let folder = home.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let source =
            format!("deb [signed-by={KEYRING} target=Packages] {} {suite} main\n", mirror()?);
        write(&home.join("sources.list"), &source)?;
        let mut text = String::new();
        for (key, value) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "sources.d"),
            ("Dir::Etc::Preferences", "preferences"),
            ("Dir::Etc::PreferencesParts", "preferences.d"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} \"{}\";", home.join(value).display());
        }
        // apt's own unprivileged user may not reach into a home folder.
        text.push_str("APT::Sandbox::User \"root\";\n");
        let config = home.join("apt.conf");
        write(&config, &text)?;
        Ok(Self { suite: suite.to_owned(), config })
    }

    /// Fetches the suite's lists.
    pub(crate) fn update(&self) -> Result<Suite> {
        let mut command = self.command("apt-get");
        command.args(["-q", "update", "--error-on=any", "-o", "Acquire::Retries=2"]);
        let asked = command.output().context("cannot run apt-get")?;
        let said = String::from_utf8_lossy(&asked.stdout) + String::from_utf8_lossy(&asked.stderr);
        if asked.status.success() {
            return Ok(Suite::Listed);
        }
        if says_not_offered(&said) {
            return Ok(Suite::NotOffered);
        }
        bail!("apt cannot fetch the lists of {}: {}", self.suite, complaint(&said))
    }

    /// Names of the packages that begin with `start`.
    pub(crate) fn names(&self, start: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache");
        let listed = output(command.args(["search", "--names-only", &format!("^{start}")]))?;
        Ok(names_of(&listed))
    }

    /// Downloads packages (`name` or `name=version`) and unpacks them into a folder.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let apart = into.join("packages");
        fs::create_dir_all(&apart).with_context(|| format!("cannot make {}", apart.display()))?;
        run(self
            .command("apt-get")
            .current_dir(&apart)
            .args(["-qq", "-o", "Acquire::Retries=2", "download"])
            .args(packages))?;
        let listed = fs::read_dir(&apart);
        for entry in listed.with_context(|| format!("cannot list {}", apart.display()))? {
            run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(into))?;
        }
        fs::remove_dir_all(&apart).with_context(|| format!("cannot remove {}", apart.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // What it says is read by `says_not_offered`.
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// The Debian mirror that this machine's own apt uses.
fn mirror() -> Result<String> {
    let list = || {
        let format = "$(CREATED_BY) $(ORIGIN) $(REPO_URI)";
        let listed = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
        Ok::<_, anyhow::Error>(pick_mirror(&listed))
    };
    if let Some(mirror) = list()? {
        return Ok(mirror);
    }
    // Origins are known only once the lists were fetched.
    run(as_root("apt-get")?.args(["-qq", "update"]))?;
    list()?.context(
        "this machine's apt has no Debian mirror to take packages from; hint: add one to its sources",
    )
}

/// The first package index of Debian itself, its security archive apart.
fn pick_mirror(listed: &str) -> Option<String> {
    let mut uris = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (Some("Packages"), Some("Debian"), Some(uri)) =
            (words.next(), words.next(), words.next())
        else {
            return None;
        };
        (!uri.contains("security")).then(|| uri.to_owned())
    });
    uris.next()
}

/// Whether what `apt-get update` wrote means that the mirror is there and the suite is not.
fn says_not_offered(said: &str) -> bool {
    said.contains("404") && said.contains("does not have a Release file")
}

/// The first error in what apt wrote.
fn complaint(said: &str) -> &str {
    let error = said.lines().find(|line| line.starts_with("E:") || line.starts_with("W:"));
    error.or(said.lines().last()).unwrap_or("it does not say why")
}

/// Names in the answer of `apt-cache search`, whose lines are `name - sentence`.
fn names_of(listed: &str) -> Vec<String> {
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debian_and_not_its_security_archive() {
        let listed = "Packages Other http://other.example/apt/\n\
                      Contents-deb Debian http://mirror.example/debian/\n\
                      Packages Debian http://mirror.example/debian-security/\n\
                      Packages Debian http://mirror.example/debian/\n";
        assert_eq!(pick_mirror(listed).as_deref(), Some("http://mirror.example/debian/"));
    }

    #[test]
    fn a_machine_without_debian_has_no_mirror() {
        assert_eq!(pick_mirror("Packages Ubuntu http://mirror.example/ubuntu/\n"), None);
    }

    #[test]
    fn a_suite_that_is_gone_is_not_a_mirror_that_is_away() {
        let gone = "Err:1 http://mirror.example/debian jessie Release\n  404  Not Found\n\
                    E: The repository 'http://mirror.example/debian jessie Release' does not have a Release file.\n";
        let away = "Err:1 http://mirror.example/debian sid InRelease\n  Could not connect to mirror.example:80\n\
                    E: Failed to fetch http://mirror.example/debian/dists/sid/InRelease  Could not connect\n";
        assert!(says_not_offered(gone));
        assert!(!says_not_offered(away));
        assert!(complaint(away).contains("Failed to fetch"), "{}", complaint(away));
    }

    #[test]
    fn names_are_the_first_words() {
        let listed = "linux-image-6.1.0-50-amd64 - Linux 6.1 for 64-bit PCs (signed)\n\nx - y\n";
        assert_eq!(names_of(listed), ["linux-image-6.1.0-50-amd64", "x"]);
    }
}
