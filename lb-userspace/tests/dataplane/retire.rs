//! Counters of removed real servers.

use lb_common::abi::{RealCounters, RealId, Retired, Service, ServiceKey};
use lb_common::wire::{Addr4, Port};
use xlb::dataplane::maps::Maps;
use xlb::dataplane::{Dataplane, MapOp};

use crate::host::on_host;

const REAL: RealId = RealId(3);

fn service() -> ServiceKey {
    ServiceKey { addr: Addr4([192, 0, 2, 1]).into(), port: Port::new(80), proto: 6, pad: 0 }
}

/// Counts of one CPU.
fn counters(n: u64) -> RealCounters {
    RealCounters {
        conns: n,
        in_packets: 2 * n,
        out_packets: 3 * n,
        in_bytes: 4 * n,
        out_bytes: 5 * n,
    }
}

/// Every CPU has counted `n` times for [`REAL`]; the sum.
fn count(maps: &Maps, n: u64) -> RealCounters {
    let mut all = maps.real_counters.get(REAL.0).unwrap();
    let mut sum = RealCounters::default();
    for one in &mut all {
        *one = counters(n);
        sum += *one;
    }
    maps.real_counters.put(REAL.0, &all).unwrap();
    sum
}

// K-16
#[test]
fn counters_of_removed_servers_stay_in_their_services_sums() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let (maps, reader) = (Maps::open(&host.pin_dir).unwrap(), dataplane.reader());
        let retire = MapOp::RetireReal { id: REAL, service: service() };
        let put = MapOp::PutService { key: service(), service: Service::default() };
        dataplane.apply(std::slice::from_ref(&put)).unwrap();

        let mut sum = count(&maps, 7);
        dataplane.apply(&[retire.clone(), retire.clone()]).unwrap();
        assert_eq!(reader.retired_counters(&service()).unwrap(), sum, "once");
        assert_eq!(reader.real_counters(&[REAL]).unwrap(), [RealCounters::default()]);
        sum += count(&maps, 5);
        dataplane.apply(std::slice::from_ref(&retire)).unwrap();
        assert_eq!(reader.retired_counters(&service()).unwrap(), sum, "the next that had the id");

        // A service that goes takes them along; what is retired after it has no sum to go to.
        dataplane.apply(&[MapOp::RemoveService { key: service() }]).unwrap();
        count(&maps, 9);
        dataplane.apply(&[retire, put]).unwrap();
        assert_eq!(reader.retired_counters(&service()).unwrap(), RealCounters::default());
        assert_eq!(reader.real_counters(&[REAL]).unwrap(), [RealCounters::default()]);
    });
}

// K-16
#[test]
fn a_crash_between_the_two_writes_counts_nothing_twice() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let maps = Maps::open(&host.pin_dir).unwrap();
        let put = MapOp::PutService { key: service(), service: Service::default() };
        dataplane.apply(&[put]).unwrap();
        // As a daemon leaves it that is killed after the first write.
        let sum = count(&maps, 7);
        maps.retired.put(&service(), &Retired { sum, moving: REAL, pad: 0 }).unwrap();
        drop(dataplane);

        let mut dataplane = host.open(&["a0"]);
        let reader = dataplane.reader();
        assert_eq!(reader.real_counters(&[REAL]).unwrap(), [RealCounters::default()]);
        assert_eq!(reader.retired_counters(&service()).unwrap(), sum);
        dataplane.apply(&[MapOp::RetireReal { id: REAL, service: service() }]).unwrap();
        assert_eq!(reader.retired_counters(&service()).unwrap(), sum);

        // The same where the second write fails, and the operation is tried again.
        let sum = count(&maps, 1);
        maps.retired.put(&service(), &Retired { sum, moving: REAL, pad: 0 }).unwrap();
        dataplane.apply(&[MapOp::RetireReal { id: REAL, service: service() }]).unwrap();
        assert_eq!(reader.retired_counters(&service()).unwrap(), sum);
        assert_eq!(maps.retired.get(&service()).unwrap().unwrap().moving, RealId::NOBODY);
    });
}
