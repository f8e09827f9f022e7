//! Inputs, which are choices of the environment that are not deviations.

use serde::Serialize;

use super::World;
use crate::search::choice::Name;
use crate::search::input;
use crate::system::timeline::EventKind;

impl World {
    /// Chooses an input: one of several values that the environment may have. The test is explored with each of them.
    ///
    /// An input is not a deviation. Each assignment of inputs has its own fault-free run, with which all runs of the
    /// same inputs are compared, and the bound on deviations does not count inputs. Scenarios name them, as in
    /// `input:card=declined`. The first value is the ordinary one. An ordinary test ([`World::fake`]) always gets it.
    ///
    /// Further calls with the same name return the same value. A service's answer can be an input, too
    /// ([`Client::explore_refusals`](crate::Client::explore_refusals)).
    /// [`Explore::max_assignments`](crate::Explore::max_assignments) limits the number of assignments.
    ///
    /// ```
    /// use retryproof::service::payments::{Charge, ChargeOutcome};
    /// use retryproof::{Explore, Verdict, World};
    ///
    /// let report = Explore::new().deviations(1).run(async |world: &World| {
    ///     let card = world.choose("card", ["pm_good", "pm_card_declined"]);
    ///     world.process("worker", |p| {
    ///         let (payments, store) = (p.payments(), p.store());
    ///         p.handle(async move |(order, card): (u32, String)| {
    ///             let charge = Charge::of_order(order, 500).payment_method(card).key(format!("order-{order}"));
    ///             let paid = matches!(payments.charge(charge).await?, ChargeOutcome::Success { .. });
    ///             store.put(format!("paid:{order}"), &paid).await?;
    ///             Ok::<(), Box<dyn std::error::Error>>(())
    ///         });
    ///     });
    ///     world.enqueue((6_u32, card.to_owned()));
    ///     world.settle().await;
    /// });
    /// // Paid with one card and not with the other: this is no difference, because each card has its own reference run.
    /// assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    /// ```
    ///
    /// # Panics
    /// Panics if the list is empty, if it lists a value twice, if it differs from the first list under this name, if the name
    /// is empty, or if a value cannot be written as JSON.
    #[track_caller]
    pub fn choose<T: Clone + Serialize>(
        &self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = T>,
    ) -> T {
        let (question, mut values) = (name.into(), values.into_iter().collect::<Vec<_>>());
        let texts: Result<Vec<_>, _> = values.iter().map(serde_json::to_string).collect();
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => {
                panic!("a value of the input `{question}` cannot be written as JSON: {error}")
            }
        };
        let answers = match input::answers(&question, &texts) {
            Ok(answers) => answers,
            Err(error) => panic!("{error}"),
        };
        let question = Name::from(input::identity(&question));
        let drawn = {
            let mut state = self.shared.state();
            let at = state.search.choices().len();
            let drawn = state.inputs.draw(question, answers.clone(), at);
            if let Ok(taken) = drawn {
                state.note(|| EventKind::Remarked {
                    text: format!("input `{question}` is `{}`", answers[taken]),
                });
            }
            drawn
        };
        match drawn {
            Ok(taken) => values.swap_remove(taken),
            Err(error) => panic!("{error}"),
        }
    }
}
