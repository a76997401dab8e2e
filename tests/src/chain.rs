//! Which functions of an object's program call which, and how much stack the longest chain of calls takes.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

/// Bytes of an instruction.
const INSTRUCTION: u64 = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// The source register of a call of another function of the object.
const PSEUDO_CALL: u8 = 1;

/// Where a function lies.
type Place = (SectionIndex, u64);

/// Functions in the order in which the loader puts them behind the program: each when it is first called, then those
/// that it calls. The verifier lists stack depths in that order.
struct Functions<'d> {
    object: &'d object::File<'d>,
    order: Vec<Place>,
    calls: HashMap<Place, Vec<Place>>,
}

/// The sum of `depths` along the deepest chain of calls from `program`; as the verifier tells them, the program's own
/// first.
pub fn deepest(object: &object::File<'_>, program: &str, depths: &[u32]) -> Result<u32> {
    let symbol =
        object.symbol_by_name(program).with_context(|| format!("no program `{program}`"))?;
    let section = symbol.section_index().context("code lies in a section")?;
    let entry = (section, symbol.address());
    let mut functions = Functions { object, order: vec![entry], calls: HashMap::new() };
    functions.follow(entry)?;
    let count = functions.order.len();
    let order = &functions.order;
    ensure!(
        count == depths.len(),
        "`{program}`: {count} functions ({order:?}) and {} stack depths ({depths:?})",
        depths.len()
    );
    Ok(functions.below(entry, depths))
}

impl Functions<'_> {
    fn follow(&mut self, function: Place) -> Result<()> {
        for callee in self.callees(function)? {
            self.calls.entry(function).or_default().push(callee);
            if !self.order.contains(&callee) {
                self.order.push(callee);
                self.follow(callee)?;
            }
        }
        Ok(())
    }

    /// The functions it calls, in the order of its instructions.
    fn callees(&self, (section, from): Place) -> Result<Vec<Place>> {
        let of_place = |symbol: &object::Symbol<'_, '_>| {
            symbol.section_index() == Some(section) && symbol.address() == from && symbol.size() > 0
        };
        let symbol = self.object.symbols().find(of_place).context("no function there")?;
        let section = self.object.section_by_index(section)?;
        let data = section.data()?;
        let relocations: BTreeMap<u64, RelocationTarget> =
            section.relocations().map(|(at, relocation)| (at, relocation.target())).collect();
        let mut callees = Vec::new();
        for at in (from..from + symbol.size()).step_by(INSTRUCTION as usize) {
            let bytes = &data[at as usize..(at + INSTRUCTION) as usize];
            if bytes[0] != CALL || bytes[1] >> 4 != PSEUDO_CALL {
                continue;
            }
            let offset = i64::from(i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
            let behind =
                |base: u64| base.checked_add_signed((offset + 1) * INSTRUCTION.cast_signed());
            // Within a section the linker has done it: the call says how many instructions away the function is.
            let Some(RelocationTarget::Symbol(index)) = relocations.get(&at) else {
                callees.push((section.index(), behind(at).context("a call out of its section")?));
                continue;
            };
            let target = self.object.symbol_by_index(*index)?;
            let there = target.section_index().context("a call out of the object")?;
            // Relative to its section, the call says how many instructions behind the first; else it names the function.
            let named = target.kind() != object::SymbolKind::Section;
            let address = if named { Some(target.address()) } else { behind(0) };
            let address = address.context("a call out of its section")?;
            callees.push((there, address));
        }
        Ok(callees)
    }

    fn below(&self, function: Place, depths: &[u32]) -> u32 {
        let own = self.order.iter().position(|known| *known == function).map_or(0, |at| depths[at]);
        let callees = self.calls.get(&function).into_iter().flatten();
        own + callees.map(|callee| self.below(*callee, depths)).max().unwrap_or(0)
    }
}
