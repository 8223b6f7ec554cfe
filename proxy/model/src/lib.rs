//! What the data plane decides, without doing any of it. The only implementation of matching in
//! the repository: the proxy runs it, pilot's tests run generated config through it, and
//! `meshctl explain` runs it. Time, randomness and load are parameters.

pub mod matcher;
