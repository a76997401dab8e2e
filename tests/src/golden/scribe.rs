//! Makes topics: a generator sends frames, the engine on the host says what becomes of them.

use super::shells::{self, Host, Shell};
use super::state::State;
use super::text::{Packet, Scene, Topic};
use super::worlds;

/// A topic that is being written.
#[derive(Default)]
pub struct Scribe {
    pub topic: Topic,
}

/// A scene that is being played.
pub struct Stage {
    scene: Scene,
    host: Host,
    state: State,
}

impl Scribe {
    pub fn new(about: &str) -> Self {
        Self { topic: Topic { about: format!("{about}\n"), scenes: vec![] } }
    }

    /// A scene in a world of that name.
    pub fn scene(&mut self, name: &str, world: &str, play: impl FnOnce(&mut Stage)) {
        let mut host = Host::new(&worlds::named(world).expect("a world"));
        let state = host.state().expect("in this process");
        let scene = Scene { name: name.into(), world: world.into(), packets: vec![] };
        let mut played = Stage { scene, host, state };
        play(&mut played);
        self.topic.scenes.push(played.scene);
    }
}

impl Stage {
    /// A packet that the scene is about; its bytes afterwards.
    pub fn packet(&mut self, title: impl Into<String>, frame: Vec<u8>) -> Vec<u8> {
        self.send(title.into(), frame, false)
    }

    /// One that prepares it.
    pub fn setup(&mut self, title: impl Into<String>, frame: Vec<u8>) -> Vec<u8> {
        self.send(title.into(), frame, true)
    }

    fn send(&mut self, title: String, bytes: Vec<u8>, setup: bool) -> Vec<u8> {
        let fate = shells::fate(&mut self.host, &bytes, &mut self.state)
            .expect("in this process")
            .expect("takes every frame");
        let left = fate.left.clone().unwrap_or_else(|| bytes.clone());
        self.scene.packets.push(Packet { title, setup, bytes, fate });
        left
    }
}
