//! A partition of a log, as Kafka has it: messages with offsets, an offset that is committed, and one consumer at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::search::choice::Name;

use super::{Operation, Refusal, Service, ServiceContext};

/// The time after which a consumer that does not poll loses the partition to another one. Kafka's `session.timeout.ms`
/// has the same default.
const SESSION: Duration = Duration::from_secs(45);

/// A partition, as the service that its consumers and producers call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartitionService {
    messages: Vec<String>,
    committed: u64,
    /// Counts the consumers to which the partition was assigned.
    #[serde(skip)]
    generation: u32,
    #[serde(skip)]
    assigned: Option<Assignment>,
    /// The processes that have a handle.
    #[serde(skip)]
    processes: BTreeSet<Name>,
}

#[derive(Clone, Debug)]
struct Assignment {
    consumer: String,
    /// When the consumer loses the partition, unless it polls or commits until then.
    until: Duration,
}

/// Where a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Position {
    pub(crate) generation: u32,
    pub(crate) next: u64,
}

/// A request to a partition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartitionRequest {
    Append { message: String },
    Poll { consumer: String, position: Option<Position>, most: usize },
    Commit { next: u64, position: Option<Position> },
}

/// The answer of a partition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartitionReply {
    Appended { offset: u64 },
    Polled { position: Option<Position>, messages: Vec<(u64, String)> },
    Committed,
}

impl PartitionService {
    pub(crate) fn new(messages: Vec<String>) -> Self {
        Self { messages, committed: 0, generation: 0, assigned: None, processes: BTreeSet::new() }
    }

    /// A process has a handle from now on.
    pub(crate) fn add_process(&mut self, process: Name) {
        self.processes.insert(process);
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Assigns the partition to a consumer, unless another one has it. Returns whether the consumer has it.
    fn assign(&mut self, consumer: String, cx: &mut ServiceContext<'_>) -> bool {
        let now = cx.now();
        let until = now.saturating_add(SESSION);
        let before = self.assigned.as_ref().map(|assigned| assigned.until);
        match &mut self.assigned {
            Some(assigned) if assigned.until > now && assigned.consumer != consumer => return false,
            Some(assigned) if assigned.consumer == consumer => assigned.until = until,
            _ => {
                self.generation += 1;
                self.assigned = Some(Assignment { consumer, until });
            }
        }
        if self.processes.len() > 1 {
            // A consumer that stalls past it loses the partition.
            cx.ledger.expiries.replace(before, Some(until));
        }
        true
    }

    fn poll(
        &mut self,
        consumer: String,
        position: Option<Position>,
        most: usize,
        cx: &mut ServiceContext<'_>,
    ) -> PartitionReply {
        if !self.assign(consumer, cx) {
            return PartitionReply::Polled { position: None, messages: Vec::new() };
        }
        let generation = self.generation;
        let position = position.filter(|position| position.generation == generation);
        let from = position.map_or(self.committed, |position| position.next);
        let all = (0..).zip(self.messages.iter().cloned());
        let messages: Vec<_> = all.filter(|(offset, _)| *offset >= from).take(most).collect();
        let next = from + messages.len() as u64;
        PartitionReply::Polled { position: Some(Position { generation, next }), messages }
    }
}

impl Service for PartitionService {
    type Request = PartitionRequest;
    type Reply = PartitionReply;

    fn operation(&self, request: &PartitionRequest) -> Operation {
        match request {
            PartitionRequest::Append { .. } => Operation::write("append".into()),
            PartitionRequest::Poll { .. } => Operation::read("poll".into()),
            PartitionRequest::Commit { .. } => Operation::write("commit".into()),
        }
    }

    fn answer(
        &mut self,
        request: PartitionRequest,
        cx: &mut ServiceContext<'_>,
    ) -> Result<PartitionReply, Refusal> {
        match request {
            PartitionRequest::Append { message } => {
                self.messages.push(message);
                Ok(PartitionReply::Appended { offset: self.messages.len() as u64 - 1 })
            }
            PartitionRequest::Poll { consumer, position, most } => {
                Ok(self.poll(consumer, position, most, cx))
            }
            PartitionRequest::Commit { next, position } => {
                if position.is_none_or(|position| position.generation != self.generation) {
                    let reason = "the partition was assigned to another consumer in the meantime".to_owned();
                    return Err(Refusal { status: 409, reason });
                }
                if next > self.messages.len() as u64 {
                    let reason = format!("offset {next} is past the end of the partition");
                    return Err(Refusal { status: 400, reason });
                }
                self.committed = next;
                Ok(PartitionReply::Committed)
            }
        }
    }
}
