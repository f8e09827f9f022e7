//! The parts of a world: time, effects, jobs, queues, services, connections. Data and state machines, without tasks,
//! processes or handlers.

pub(crate) mod json_path;
pub(crate) mod exact_json;
pub(crate) mod clock;
pub(crate) mod effect;
pub(crate) mod job;
pub(crate) mod generated;
pub(crate) mod seeded;
pub(crate) mod script;
pub(crate) mod queue;
pub(crate) mod timeline;
pub mod service;
pub(crate) mod hygiene;
pub(crate) mod connections;
