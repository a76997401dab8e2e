//! The format of the files: lines, so that a change is seen in a diff.
//!
//! ```text
//! # What the topic is about.
//!
//! scene NAME in WORLD             tables are as the daemon fills them: no flows, counters 0
//!
//! packet TITLE                    or `setup TITLE`: only there for what follows
//! < BYTES                         as it arrives
//! > BYTES                         as it leaves; no such line: as it arrived
//! = redirect 1                    or tx 1, pass, drop
//!   reason bad_tcp_flags +1       what changed: counters, then entries of the flow tables
//! ```

use std::fmt;

use anyhow::{Context, Result, bail};

use super::layout;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    pub about: String,
    pub scenes: Vec<Scene>,
}

/// Packets that come one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    pub name: String,
    /// A name of [`super::worlds`].
    pub world: String,
    pub packets: Vec<Packet>,
}

/// One packet and all that becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub title: String,
    /// It prepares what the scene is about.
    pub setup: bool,
    pub bytes: Vec<u8>,
    pub fate: Fate,
}

/// What becomes of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// `None`: as it arrived.
    pub left: Option<Vec<u8>>,
    pub verdict: String,
    pub changes: Vec<String>,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(left) = &self.left {
            writeln!(f, "> {}", layout::shown(left))?;
        }
        writeln!(f, "= {}", self.verdict)?;
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.setup { "setup" } else { "packet" };
        writeln!(f, "{word} {}", self.title)?;
        writeln!(f, "< {}", layout::shown(&self.bytes))?;
        self.fate.fmt(f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.about.lines().try_for_each(|line| writeln!(f, "# {line}"))?;
        for scene in &self.scenes {
            writeln!(f, "\nscene {} in {}", scene.name, scene.world)?;
            scene.packets.iter().try_for_each(|packet| write!(f, "\n{packet}"))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Topic {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut topic = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            topic.line(line).with_context(|| format!("line {number}: {line}"))?;
        }
        Ok(topic)
    }
}

impl Topic {
    fn line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "#" => self.about = [&*self.about, rest, "\n"].concat(),
            "scene" => {
                let (name, world) = rest.rsplit_once(" in ").context("in which world?")?;
                let (name, world) = (name.to_owned(), world.to_owned());
                self.scenes.push(Scene { name, world, packets: vec![] });
            }
            "packet" | "setup" => {
                let scene = self.scenes.last_mut().context("no scene yet")?;
                let (title, setup) = (rest.to_owned(), mark == "setup");
                scene.packets.push(Packet { title, setup, ..Packet::default() });
            }
            _ => {
                let packets = &mut self.scenes.last_mut().context("no scene yet")?.packets;
                let packet = packets.last_mut().context("no packet yet")?;
                match mark {
                    "<" => packet.bytes = layout::read(rest)?,
                    ">" => packet.fate.left = Some(layout::read(rest)?),
                    "=" => rest.clone_into(&mut packet.fate.verdict),
                    "" => packet.fate.changes.push(line.trim_start().to_owned()),
                    _ => bail!("`{mark}` means nothing here"),
                }
            }
        }
        Ok(())
    }
}
