//! The one owner of state: events in, effects out. Pure: no clock, no socket, no map.
