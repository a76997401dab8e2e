//! Tree to model: values, defaults, inheritance and the checks after reading. keepalived-spec sections 5 to 10.
//!
//! Each block has its file; [`cross`] does what needs the whole virtual server.

mod checkers;
mod cross;
mod draft;
mod forwarding;
mod globals;
mod groups;
mod http;
mod real_server;
mod resolve;
mod scripts;
mod values;
mod virtual_server;

use super::MOST_DIAGNOSTICS;
use super::ast::Statement;
use super::diag::{Code, Diag};
use super::keywords::{self, Block, Class};
use super::model::Config;
use super::source::Span;
use values::Out;

/// Where the things of a [`Config`] stand, index by index, for messages made later.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Keywords used outside virtual servers.
    pub uses: Vec<(Block, &'static str, Span)>,
    pub virtual_servers: Vec<ServerPlace>,
}

/// Places of one virtual server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerPlace {
    pub span: Span,
    pub uses: Vec<(&'static str, Span)>,
    pub real_servers: Vec<RealPlace>,
}

/// Places of one real server.
#[derive(Clone, Debug, Default)]
pub(super) struct RealPlace {
    pub span: Span,
    pub uses: Vec<(&'static str, Span)>,
    pub checkers: Vec<Span>,
}

/// The model and what there was to say.
#[derive(Clone, Debug, Default)]
pub(super) struct Lowered {
    pub config: Config,
    pub diags: Vec<Diag>,
    pub places: Places,
}

/// Lowers a whole file. With `broken` (errors before) the checks after reading are left out: they would complain about
/// what was lost.
pub(super) fn lower(statements: &[Statement], broken: bool) -> Lowered {
    let mut lowered = Lowered::default();
    let mut groups = groups::Groups::default();
    let mut drafts = Vec::new();
    for statement in statements {
        let out = &mut lowered.diags;
        if !known(out, statement, Block::Top) {
            continue;
        }
        match statement.name() {
            "global_defs" => {
                globals::read(
                    out,
                    statement,
                    &mut lowered.config.globals,
                    &mut lowered.places.uses,
                );
            }
            "virtual_server_group" => groups.read_group(out, statement),
            "local_address_group" => groups.read_local(out, statement),
            "xlb_mark" => {
                lowered.places.uses.push((Block::Top, "xlb_mark", statement.keyword.span));
                if let Some(mark) = groups::read_mark(out, statement) {
                    lowered.config.globals.marks.push(mark);
                }
            }
            "virtual_server" => drafts.extend(virtual_server::read(out, statement)),
            "SSL" => globals::read_ssl(out, statement, &mut lowered.config.globals),
            "net_namespace" | "net_namespace_ipvs" => out.push(
                Diag::new(
                    Code::NamespaceIgnored,
                    statement.span(),
                    "xlb stays in the namespace it was started in",
                )
                .help("start it with `ip netns exec`"),
            ),
            _ => {}
        }
    }
    let broken = broken || lowered.diags.iter().any(|diag| diag.level == super::diag::Level::Error);
    if broken {
        // A block that lost a statement to an error would be blamed for lacking it.
        lowered.diags.retain(|diag| !matches!(diag.code, Code::UrlIgnored | Code::CheckerIgnored));
    } else {
        groups.report_empty(&mut lowered.diags);
        cross::finish(&mut lowered, drafts, &groups);
        scripts_not_secured(&mut lowered);
    }
    lowered
}

/// Notes at the first script that anybody who can change it may become the user who runs it.
fn scripts_not_secured(lowered: &mut Lowered) {
    const SCRIPTS: [&str; 5] =
        ["quorum_up", "quorum_down", "notify_up", "notify_down", "MISC_CHECK"];
    if lowered.config.globals.script_security {
        return;
    }
    let servers = lowered.places.virtual_servers.iter();
    let mut uses = servers.flat_map(|server| {
        server.uses.iter().chain(server.real_servers.iter().flat_map(|real| &real.uses))
    });
    if let Some((_, span)) = uses.find(|(name, _)| SCRIPTS.contains(name)) {
        let message = "scripts are run without `enable_script_security`";
        lowered.diags.push(
            Diag::new(Code::ScriptsNotSecured, *span, message)
                .help("put `enable_script_security` into `global_defs`"),
        );
    }
}

/// Reports a word that is unknown in `block` or lacks arguments; true if the statement is to be read.
fn known(out: &mut Out, statement: &Statement, block: Block) -> bool {
    let name = statement.name();
    let span = statement.keyword.span;
    let Some(keyword) = statement.known else {
        if out.len() < MOST_DIAGNOSTICS {
            out.push(unknown(statement, block));
        }
        return false;
    };
    if statement.arguments.len() < keyword.needs {
        let message = format!("`{name}` needs {}", plural(keyword.needs));
        let diag = Diag::new(Code::MissingParameter, span, message).label("nothing follows");
        out.push(if keyword.arguments.is_empty() {
            diag
        } else {
            diag.help(format!("write `{name} {}`", keyword.arguments))
        });
        return false;
    }
    // A `local_address_group` may turn out to be another program's.
    if keyword.class == Class::Extension && block != Block::Mark && name != "local_address_group" {
        out.push(if name == "persistent_timeout" {
            Diag::new(
                Code::AliasKeyword,
                span,
                "`persistent_timeout` is read as `persistence_timeout`",
            )
            .note("keepalived does not know this spelling and would run without persistence")
        } else {
            extension(name, span)
        });
    }
    true
}

/// The note for a word of xlb's own.
fn extension(word: &str, span: Span) -> Diag {
    Diag::new(Code::Extension, span, format!("`{word}` is xlb's own word"))
        .note("keepalived does not know it; hide it there with a conditional line `@ID ...` or an include")
}

fn plural(count: usize) -> String {
    if count == 1 { "an argument".to_owned() } else { format!("{count} arguments") }
}

fn unknown(statement: &Statement, block: Block) -> Diag {
    let name = statement.name();
    let skipped = if statement.block.is_some() {
        "; its block is skipped"
    } else {
        "; the statement is ignored"
    };
    let message = format!("unknown keyword `{name}` in {}{skipped}", place(block));
    let diag = Diag::new(Code::UnknownKeyword, statement.keyword.span, message);
    match name {
        "lvs_id" => return diag.help("it became `router_id`"),
        "lb_kind" => return diag.help("a real server takes `lvs_method`"),
        _ => {}
    }
    let elsewhere = keywords::blocks_of(name);
    if let Some(other) = elsewhere.first() {
        return diag.help(format!("`{name}` belongs into {}", place(*other)));
    }
    diag.suggest(name, keywords::names(block))
}

fn place(block: Block) -> String {
    match block {
        Block::Top => "the top level".to_owned(),
        other => format!("`{}`", other.name()),
    }
}
