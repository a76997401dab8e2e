//! The committed object in the kernel, with a world in its maps, run packet by packet.

use anyhow::{Context, Result, bail};
use aya::maps::perf::PerfEventArrayBuffer;
use aya::maps::{
    Array, DevMapHash, HashMap, MapData, PerCpuArray, PerCpuValues, PerfEventArray, ProgramArray,
};
use aya::programs::{Program, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use bytemuck::Zeroable;
use lb_common::abi::program::Next;
use lb_common::abi::{
    Flow, FlowKey, FragmentKey, Fragmented, Gauge, HopId, Iface, LastHopKey, Load, NextHop,
    REASON_SLOTS, RealCounters, RealId, Service, ServiceKey, Sticky, StickyKey, VlanKey, limits,
    map, program,
};
use lb_common::wire::{Addr4, Addr6, Address};

use lb_common::engine::{Action, Verdict};

use crate::pins::Pins;
use crate::world::{IFINDEX, World};

/// XDP's verdicts as the kernel numbers them.
pub mod xdp {
    pub const ABORTED: u32 = 0;
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
    pub const REDIRECT: u32 = 4;

    /// The shortest frame that `BPF_PROG_TEST_RUN` takes.
    pub const SHORTEST: usize = 14;

    /// The number of the engine's verdict.
    pub const fn code(verdict: super::Verdict) -> u32 {
        match verdict.action() {
            super::Action::Pass => PASS,
            super::Action::Drop => DROP,
            super::Action::Bounce => TX,
            super::Action::Redirect => REDIRECT,
        }
    }
}

/// tc's verdicts as the kernel numbers them.
pub mod tc {
    pub const UNSPEC: u32 = u32::MAX;
    pub const SHOT: u32 = 2;
    pub const REDIRECT: u32 = 7;

    /// The shortest frame of this kind that `BPF_PROG_TEST_RUN` takes: it looks at the IP header itself.
    pub fn shortest(frame: &[u8]) -> usize {
        match frame.get(12..14) {
            Some([8, 0]) => 34,
            Some([0x86, 0xdd]) => 54,
            // A frame of nothing but its own header is refused.
            _ => 15,
        }
    }
}

/// `struct __sk_buff` of include/uapi/linux/bpf.h: its size, and where `gso_size` lies.
const SK_BUFF: usize = 192;
const GSO_SIZE: usize = 176;

/// The object that is committed and embedded.
pub fn object() -> Result<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-ebpf/prebuilt/xlb.bpf.o");
    std::fs::read(path).with_context(|| format!("cannot read {path}; run `cargo xtask ebpf`"))
}

/// Programs that are run; the others go on from them.
const PROGRAMS: [&str; 4] = [program::XDP, program::TC, program::EXPIRE, program::EXPIRE6];

/// A loaded, unattached data path.
pub struct Kernel {
    bpf: Ebpf,
    /// Maps that the object wants pinned live here.
    _pins: Pins,
}

impl Kernel {
    /// Loads the object on a private bpffs and fills its maps.
    pub fn load(world: &World) -> Result<Self> {
        let pins = Pins::mount()?;
        let bpf = EbpfLoader::new()
            .default_map_pin_directory(pins.path())
            .map_max_entries(map::FLOWS4, 2 * world.config.flow_limit)
            .map_max_entries(map::FLOWS6, 2 * world.config.flow_limit)
            .load(&object()?)?;
        let mut kernel = Self { bpf, _pins: pins };
        let chained = Next::XDP.into_iter().chain(Next::TC).map(|(_, name)| name);
        for name in PROGRAMS.into_iter().chain(chained) {
            match kernel.bpf.program_mut(name).context("no such program")? {
                Program::Xdp(program) => program.load()?,
                Program::SchedClassifier(program) => program.load()?,
                _ => bail!("`{name}` is of a type that this does not know"),
            }
        }
        kernel.fill(world)?;
        kernel.chain()?;
        Ok(kernel)
    }

    /// Puts the programs where those that run first go on with them.
    fn chain(&mut self) -> Result<()> {
        for (map, programs) in [(map::XDP_NEXT, &Next::XDP[..]), (map::TC_NEXT, &Next::TC)] {
            for &(next, name) in programs {
                let program = match self.bpf.program(name).context("no such program")? {
                    Program::Xdp(program) => program.fd()?.try_clone()?,
                    Program::SchedClassifier(program) => program.fd()?.try_clone()?,
                    _ => bail!("`{name}` is of a type that this does not know"),
                };
                let table = self.bpf.map_mut(map).context("no such map")?;
                ProgramArray::try_from(table)?.set(next as u32, &program, 0)?;
            }
        }
        Ok(())
    }

    fn array<V: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        Ok(Array::try_from(self.bpf.map_mut(name).context("no such map")?)?)
    }

    fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        Ok(HashMap::try_from(self.bpf.map_mut(name).context("no such map")?)?)
    }

    fn fill(&mut self, world: &World) -> Result<()> {
        self.array(map::CONFIG)?.set(0, world.config, 0)?;
        for (key, service) in &world.services {
            self.hash::<ServiceKey, Service>(map::SERVICES)?.insert(key, service, 0)?;
        }
        for (id, real) in &world.reals {
            self.array(map::REALS)?.set(id.0, *real, 0)?;
        }
        for (id, hop) in &world.hops {
            self.array(map::NEXT_HOPS)?.set(id.hop().0, *hop, 0)?;
        }
        for (at, id) in (0..).zip(&world.slots) {
            self.array::<u32>(map::SLOTS)?.set(at, id.0, 0)?;
        }
        for (at, local) in (0..).zip(&world.locals) {
            self.array::<[u8; 16]>(map::LOCALS)?.set(at, local.octets(), 0)?;
        }
        for (at, port) in (0..).zip(&world.ports) {
            self.array::<u32>(map::PORTS)?.set(at, u32::from(*port), 0)?;
        }
        self.hash::<u32, Iface>(map::IFACES)?.insert(IFINDEX, world.iface, 0)?;
        for (key, ifindex, iface) in &world.vlans {
            self.hash::<VlanKey, u32>(map::VLANS)?.insert(key, ifindex, 0)?;
            self.hash::<u32, Iface>(map::IFACES)?.insert(ifindex, iface, 0)?;
        }
        let devices = self.bpf.map_mut(map::DEVICES).context("no devmap")?;
        let mut devices = DevMapHash::try_from(devices)?;
        for ifindex in world.vlans.iter().map(|(_, ifindex, _)| *ifindex).chain([IFINDEX]) {
            devices.insert(ifindex, IFINDEX, None, 0)?;
        }
        Ok(())
    }

    /// Back to the world as it was loaded: no flows, no templates, all counters at 0.
    pub fn reset(&mut self, world: &World) -> Result<()> {
        self.forget::<Addr4>([map::FLOWS4, map::HALF_OPEN4], map::FRAGMENTS4)?;
        self.forget::<Addr6>([map::FLOWS6, map::HALF_OPEN6], map::FRAGMENTS6)?;
        let mut senders = self.hash::<LastHopKey, u32>(map::LAST_HOPS)?;
        for key in senders.keys().collect::<Result<Vec<_>, _>>()? {
            let hop = senders.get(&key, 0)?;
            senders.remove(&key)?;
            self.array(map::NEXT_HOPS)?.set(hop, NextHop::default(), 0)?;
            senders = self.hash(map::LAST_HOPS)?;
        }
        let mut sticky = self.hash::<StickyKey, Sticky>(map::STICKY)?;
        for key in sticky.keys().collect::<Result<Vec<_>, _>>()? {
            sticky.remove(&key)?;
        }
        let cpus =
            aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        for (id, _) in &world.reals {
            self.array(map::LOADS)?.set(id.0, Load::default(), 0)?;
            self.array(map::HALF_LOADS)?.set(id.0, 0_u32, 0)?;
            self.array(map::CURSORS)?.set(id.0, 0_u32, 0)?;
            let counters = self.bpf.map_mut(map::COUNT_REAL).context("no such map")?;
            let zero = PerCpuValues::try_from(vec![RealCounters::default(); cpus])?;
            PerCpuArray::try_from(counters)?.set(id.0, zero, 0)?;
        }
        for gauge in 0..Gauge::COUNT {
            self.array(map::GAUGES)?.set(gauge, 0_u32, 0)?;
        }
        for slot in 0..REASON_SLOTS {
            let reasons = self.bpf.map_mut(map::REASONS).context("no such map")?;
            PerCpuArray::try_from(reasons)?.set(
                slot,
                PerCpuValues::try_from(vec![0_u64; cpus])?,
                0,
            )?;
        }
        Ok(())
    }

    fn forget<A: Address>(&mut self, flows: [&str; 2], fragments: &str) -> Result<()> {
        for name in flows {
            for (key, _) in self.entries::<A>(name)? {
                self.hash::<FlowKey<A>, Flow<A>>(name)?.remove(&key)?;
            }
        }
        let mut fragments = self.hash::<FragmentKey<A>, Fragmented<A>>(fragments)?;
        for key in fragments.keys().collect::<Result<Vec<_>, _>>()? {
            fragments.remove(&key)?;
        }
        Ok(())
    }

    /// One packet through a program: the verdict, and the bytes it left.
    pub fn run(&mut self, name: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        self.run_segments(name, frame, 0)
    }

    /// The same where the frame is several packets of so many bytes of data in one; 0: one packet. tc only.
    pub fn run_segments(&mut self, name: &str, frame: &[u8], size: u16) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; frame.len() + 256];
        let mut context = [0; SK_BUFF];
        context[GSO_SIZE..GSO_SIZE + 2].copy_from_slice(&size.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        if size != 0 {
            options.ctx_in = Some(&context);
        }
        let result = match self.bpf.program_mut(name).context("no such program")? {
            Program::Xdp(program) => program.test_run(options)?,
            Program::SchedClassifier(program) => program.test_run(options)?,
            _ => bail!("`{name}` is of a type that this does not know"),
        };
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Opens the buffers of frames that are handed over, as the daemon does.
    pub fn take_held(&mut self) -> Result<Vec<PerfEventArrayBuffer<MapData>>> {
        let held = self.bpf.take_map(map::HELD).context("no such map")?;
        let mut held = PerfEventArray::try_from(held)?;
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        cpus.into_iter().map(|cpu| Ok(held.open(cpu, None)?)).collect()
    }

    /// Puts an entry into a flow table.
    pub fn insert_flow(&mut self, name: &str, key: &FlowKey, flow: &Flow) -> Result<()> {
        Ok(self.hash::<FlowKey, Flow>(name)?.insert(key, flow, 0)?)
    }

    /// Changes a next hop.
    pub fn set_hop(&mut self, id: HopId, hop: NextHop) -> Result<()> {
        Ok(self.array(map::NEXT_HOPS)?.set(id.0, hop, 0)?)
    }

    /// A flow table's entries, in the order of keys.
    pub fn entries<A: Address>(&mut self, name: &str) -> Result<Vec<(FlowKey<A>, Flow<A>)>> {
        let map: HashMap<_, FlowKey<A>, Flow<A>> = self.hash(name)?;
        let mut all = map.iter().collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|(a, _), (b, _)| bytemuck::bytes_of(a).cmp(bytemuck::bytes_of(b)));
        Ok(all)
    }

    /// GAUGES.
    pub fn gauges(&mut self) -> Result<[u32; Gauge::COUNT as usize]> {
        let map: Array<_, u32> = self.array(map::GAUGES)?;
        let mut all = [0; Gauge::COUNT as usize];
        for (at, value) in (0..).zip(&mut all) {
            *value = map.get(&at, 0)?;
        }
        Ok(all)
    }

    /// How many templates there are.
    pub fn templates(&mut self) -> Result<usize> {
        Ok(self.hash::<StickyKey, Sticky>(map::STICKY)?.keys().count())
    }

    /// How many first fragments are remembered.
    pub fn fragments(&mut self) -> Result<usize> {
        Ok(self.hash::<FragmentKey, Fragmented>(map::FRAGMENTS4)?.keys().count()
            + self.hash::<FragmentKey<Addr6>, Fragmented<Addr6>>(map::FRAGMENTS6)?.keys().count())
    }

    /// REASONS, summed over the CPUs.
    pub fn reasons(&self) -> Result<Vec<u64>> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.bpf.map(map::REASONS).context("no such map")?)?;
        map.iter().map(|values| Ok(values?.iter().sum())).collect()
    }

    /// COUNT_REAL of one real server, summed over the CPUs.
    pub fn counters(&self, id: RealId) -> Result<RealCounters> {
        let map: PerCpuArray<_, RealCounters> =
            PerCpuArray::try_from(self.bpf.map(map::COUNT_REAL).context("no such map")?)?;
        let mut sum = RealCounters::zeroed();
        for count in map.get(&id.0, 0)?.iter() {
            sum += *count;
        }
        Ok(sum)
    }

    /// LOADS of one real server: active, inactive; and its half-open flows.
    pub fn load_of(&mut self, id: RealId) -> Result<(u32, u32, u32)> {
        let load: lb_common::abi::Load = self.array(map::LOADS)?.get(&id.0, 0)?;
        let half_open: u32 = self.array(map::HALF_LOADS)?.get(&id.0, 0)?;
        Ok((load.active, load.inactive, half_open))
    }

    /// Runs the expiry program over keys, in its batches; how many flows it ended.
    pub fn expire(&mut self, keys: &[FlowKey]) -> Result<u32> {
        let mut ended = 0;
        for batch in keys.chunks(limits::EXPIRE_BATCH as usize) {
            let mut packet = vec![FlowKey::zeroed(); limits::EXPIRE_BATCH as usize];
            packet[..batch.len()].copy_from_slice(batch);
            ended += self.run(program::EXPIRE, bytemuck::cast_slice(&packet))?.0;
        }
        Ok(ended)
    }
}
