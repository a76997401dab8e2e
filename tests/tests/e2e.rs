//! Runs the end-to-end scenarios; `cargo test -p lb-tests --test e2e`.

use lb_tests::capability::{Capability, have};

macro_rules! scenarios {
    ($($file:ident: $($scenario:ident),* $(,)?;)*) => { $(
        mod $file {
            $(
                #[test]
                fn $scenario() -> anyhow::Result<()> {
                    if super::have(&[super::Capability::Bpf, super::Capability::Netns]) {
                        lb_tests::e2e::$file::$scenario()?;
                    }
                    Ok(())
                }
            )*
        }
    )* };
}

scenarios! {
    laboratory: two_arms_are_wired, streams_are_intact, gateways_mark_their_requests, nothing_is_left;
}
