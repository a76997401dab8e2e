//! `cargo xtask ebpf`: builds the kernel side, commits nothing, leaves an object that is the same wherever the
//! checkout lies. `--check` builds it apart and compares.
//!
//! No path of the machine may enter the object: prefixes are mapped to relative names, crate names are made
//! independent of places by [`crate::rustc_wrapper`], debug sections go by [`crate::strip`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, output, root, run, say, target_dir};
use crate::source_hash::{OBJECT, RECORDED, digest, recorded};
use crate::versions::{BPF_CARGO_ARGS, BPF_KERNEL_ARCH, BPF_RUSTFLAGS, BPF_TARGET};
use crate::{rust_src, rustc_wrapper, strip, tools};

const MANIFEST: &str = "lb-ebpf/Cargo.toml";
/// The name of the binary in that manifest.
const BINARY: &str = "xlb";

/// Builds the object and records the hash of its sources; then shows what the kernel's verifier says of it.
pub(crate) fn build() -> Result<()> {
    let root = root();
    // Bring the lock file up to date first: it is one of the hashed sources.
    run(cargo()
        .args(["metadata", "--quiet", "--format-version=1", "--manifest-path", MANIFEST])
        .stdout(std::process::Stdio::null()))?;
    let hash = digest(&root).context("cannot hash the sources")?;
    let library = rust_src::ensure()?;
    let object = compile(&library, &target_dir().join("bpf"))?;
    ensure!(
        digest(&root).context("cannot hash the sources")? == hash,
        "the sources changed while they were built; hint: run it again"
    );
    let path = root.join(OBJECT);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&path, &object).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(root.join(RECORDED), format!("{hash}\n"))
        .with_context(|| format!("cannot write {RECORDED}"))?;
    println!("{OBJECT}: {} bytes, sources {hash}", object.len());
    report()
}

/// Compares the committed object with its sources: by their hash always, by a build of its own where possible.
pub(crate) fn check() -> Result<()> {
    let root = root();
    let hash = digest(&root).context("cannot hash the sources")?;
    match recorded(&root) {
        None => bail!("{RECORDED} is missing; hint: run `cargo xtask ebpf`"),
        Some(recorded) if recorded != hash => {
            bail!("{OBJECT} was built from other sources; hint: run `cargo xtask ebpf`")
        }
        Some(_) => println!("{RECORDED} fits the sources"),
    }
    let committed = fs::read(root.join(OBJECT))
        .with_context(|| format!("cannot read {OBJECT}; hint: run `cargo xtask ebpf`"))?;
    let library = match rust_src::ensure() {
        Ok(library) => library,
        Err(error) => {
            println!("skipped: byte-for-byte comparison; rust-src cannot be fetched: {error:#}");
            return Ok(());
        }
    };
    // From nothing: cargo would not notice another compiler wrapper.
    let apart = target_dir().join("bpf-check");
    remove(&apart)?;
    let built = compile(&library, &apart)?;
    remove(&apart)?;
    if built != committed {
        let kept = target_dir().join("differs.bpf.o");
        fs::write(&kept, &built).with_context(|| format!("cannot write {}", kept.display()))?;
        bail!(
            "{OBJECT} is not what its sources give (first difference at byte {}); what they give is in {}; \
             hint: run `cargo xtask ebpf`",
            committed.iter().zip(&built).take_while(|(a, b)| a == b).count(),
            kept.display()
        );
    }
    println!("{OBJECT} is byte for byte what its sources give ({} bytes)", built.len());
    Ok(())
}

/// Loads the committed object into the kernel and prints what the verifier says.
fn report() -> Result<()> {
    say("what the kernel's verifier says");
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "lb-tests", "--bin", "program-report", "--"]);
    command.arg(root().join(OBJECT));
    run(&mut command)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The stripped object, built in `target_dir`.
fn compile(library: &Path, target_dir: &Path) -> Result<Vec<u8>> {
    let linker = tools::bpf_linker()?;
    say("building the eBPF object");
    let mut fetch = cargo();
    fetch.args(["fetch", "--locked", "--manifest-path", MANIFEST]);
    // Packages have to lie in the registry's folders before those can be given other names.
    run(&mut fetch)?;

    let mut build = cargo();
    tools::own_flags_only(&mut build);
    build.arg("build").args(BPF_CARGO_ARGS).args(["--target", BPF_TARGET]);
    build.args(["--manifest-path", MANIFEST]).arg("--target-dir").arg(target_dir);
    build.env("CARGO_ENCODED_RUSTFLAGS", encoded(&flags(library, target_dir)?));
    build.env(BPF_KERNEL_ARCH.0, BPF_KERNEL_ARCH.1);
    // One pinned stable compiler for everything; this lets it build its own library for this target.
    build.env("RUSTC_BOOTSTRAP", "1");
    build.env("RUSTC_WRAPPER", std::env::current_exe().context("cannot find this program")?);
    build.env(rustc_wrapper::SWITCH, "1");
    let mut path = vec![linker];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    build.env("PATH", std::env::join_paths(path).context("PATH has a colon in a folder's name")?);
    run(&mut build)?;

    let binary = target_dir.join(BPF_TARGET).join("release").join(BINARY);
    let object = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let object = strip::without_debug_sections(&object)?;
    no_path_inside(&object)?;
    Ok(object)
}

/// The table's flags and a relative name for each folder that the compiler may see.
fn flags(library: &Path, target_dir: &Path) -> Result<Vec<OsString>> {
    let mut flags: Vec<OsString> = BPF_RUSTFLAGS.iter().map(OsString::from).collect();
    // The last prefix that fits wins, so that the more particular ones come later.
    let mut prefixes: Vec<(PathBuf, String)> = vec![(root(), "xlb".into())];
    prefixes.push((target_dir.to_owned(), "target".into()));
    prefixes.push((library.to_owned(), "rust-src".into()));
    let sources = cargo_home()?.join("registry/src");
    for entry in
        fs::read_dir(&sources).with_context(|| format!("cannot list {}", sources.display()))?
    {
        // The folder is named by the registry's host.
        prefixes.push((entry?.path(), "registry".into()));
    }
    for (folder, name) in prefixes {
        let real = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        for seen in [Some(folder.clone()), (real != folder).then_some(real)].into_iter().flatten() {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(seen);
            flag.push("=");
            flag.push(&name);
            flags.push(flag);
        }
    }
    Ok(flags)
}

fn encoded(flags: &[OsString]) -> OsString {
    flags.join(&OsString::from("\u{1f}"))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(root().join(home));
    }
    let home = std::env::home_dir().context("there is no home folder and no CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// A second look, at the outcome: nothing of this machine is in the object.
fn no_path_inside(object: &[u8]) -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()))?;
    for folder in [root(), cargo_home()?, target_dir(), PathBuf::from(sysroot.trim())] {
        let name = folder.as_os_str().as_encoded_bytes();
        ensure!(
            !object.windows(name.len()).any(|window| window == name),
            "the object names the folder {}, which would make it different elsewhere",
            folder.display()
        );
    }
    Ok(())
}
