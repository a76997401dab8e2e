//! The sorry server: while quorum is lost it takes the place of all real servers (keepalived, ipwrapper.c).

use lb_common::abi::RealFlags;

use super::accepted::AcceptedReal;
use super::real::Built;

/// Puts the sorry server beside the real servers, or in their place when it is `active`.
pub(super) fn join(
    built: &mut Vec<Built>,
    mut sorry: Built,
    inhibit: bool,
    reals: &[AcceptedReal<'_>],
    active: bool,
) {
    let same = built.iter().position(|real| real.real.id == sorry.real.id);
    if active {
        for (real, accepted) in built.iter_mut().zip(reals) {
            bench(real, accepted.inhibit);
        }
        sorry.real.real.weight = 1;
        sorry.real.real.flags |= RealFlags::UP;
        sorry.listed = true;
    } else {
        bench(&mut sorry, inhibit);
    }
    match same {
        // One of the real servers is the sorry server.
        Some(index) if active => built[index] = sorry,
        Some(_) => {}
        None => built.push(sorry),
    }
}

/// Out of the list; with inhibit it stays there with weight 0.
fn bench(built: &mut Built, inhibit: bool) {
    built.real.real.weight = 0;
    if !inhibit {
        built.real.real.flags &= !RealFlags::UP;
        built.listed = false;
    }
}
