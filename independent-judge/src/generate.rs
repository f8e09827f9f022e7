//! Generates random programs, small ones first, and shrinks programs.

use crate::program::{
    Arrival, Isolation, Job, Key, OnError, Policy, Program, Row, Service, Statement, Step, Term,
};

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn pick<T>(&mut self, mut of: Vec<T>) -> T {
        of.swap_remove(self.below(of.len()))
    }

    /// Returns true once in `times` calls on average.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Returns the program with this number. Higher numbers have more steps, up to `size` per job.
pub fn program(seed: u64, number: u64, size: usize) -> Program {
    let mut dice = Dice::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    let most = 1 + (number as usize / 40).min(size - 1);
    let jobs = 1 + dice.below(3);
    let mut program = Program { jobs: (0..jobs).map(|place| job(&mut dice, place, jobs, most)).collect() };
    // A job that other jobs enqueue is only enqueued by them. The test body enqueues all others.
    for place in 0..jobs {
        let enqueues = |step: &Step| matches!(step, Step::Enqueue { child, .. } if *child == place);
        let is_child = program.jobs[..place].iter().any(|job| job.steps.iter().any(enqueues));
        if is_child {
            program.jobs[place].arrival = Arrival::Child;
        }
    }
    program
}

fn job(dice: &mut Dice, place: usize, jobs: usize, most: usize) -> Job {
    let arrival = if place > 0 && dice.once_in(5) { Arrival::InAnHour } else { Arrival::Now };
    let policy = dice.one(&[Policy::Retry, Policy::Retry, Policy::Retry, Policy::Die, Policy::Discard]);
    let order = dice.one(&[1, 1, 2]);
    let mut steps: Vec<_> = (0..1 + dice.below(most)).map(|_| step(dice, place, jobs)).collect();
    // A job that always fails and enqueues others each time has too many orders.
    if steps.iter().any(|step| matches!(step, Step::Enqueue { .. })) {
        steps.retain(|step| *step != Step::FailIfAbsent);
    }
    if !steps.iter().any(shows) {
        steps.push(showing(dice));
    }
    Job { arrival, policy, order, steps }
}

/// Whether a step leaves something behind that shows that the job has run.
fn shows(step: &Step) -> bool {
    match step {
        Step::Call { .. } | Step::Put(..) | Step::Increment | Step::DrawStored(_) | Step::Claim(..) => true,
        Step::Transaction(_, statements) => {
            statements.iter().any(|statement| matches!(statement, Statement::Put(..) | Statement::Increment))
        }
        _ => false,
    }
}

fn row(dice: &mut Dice) -> Row {
    dice.one(&[Row::A, Row::A, Row::B])
}

fn term(dice: &mut Dice) -> Term {
    let number = 1 + dice.below(3) as u64;
    dice.one(&[Term::Number(number), Term::Number(number), Term::Register, Term::RegisterPlusOne])
}

fn showing(dice: &mut Dice) -> Step {
    match dice.below(3) {
        0 => Step::Put(row(dice), term(dice)),
        _ => call(dice),
    }
}

fn call(dice: &mut Dice) -> Step {
    let keys = [Key::None, Key::Job, Key::Job, Key::Register];
    let service = if dice.once_in(4) { Service::Email } else { Service::Payments(dice.one(&keys)) };
    let body = if dice.once_in(3) { term(dice) } else { Term::Number(1) };
    let note = OnError::Note(row(dice));
    let on_error = dice.one(&[OnError::Return, OnError::Return, OnError::Return, OnError::Swallow, note]);
    Step::Call { service, body, on_error, keep: dice.once_in(4) }
}

fn step(dice: &mut Dice, place: usize, jobs: usize) -> Step {
    match dice.below(16) {
        0..=3 => call(dice),
        4 => Step::Draw,
        5 => Step::DrawStored(row(dice)),
        6 => Step::Get(dice.one(&[Row::A, Row::A, Row::B, Row::Count])),
        7 | 8 => Step::Put(row(dice), term(dice)),
        9 => Step::Claim(row(dice), term(dice)),
        10 => Step::Increment,
        11 => Step::ReturnIfPresent,
        12 => dice.pick(vec![Step::FailIfAbsent, Step::ReturnIfAbsent]),
        13 => {
            let isolation = dice.one(&[Isolation::ReadCommitted, Isolation::Serializable]);
            let statements = (0..1 + dice.below(3)).map(|_| statement(dice)).collect();
            Step::Transaction(isolation, statements)
        }
        _ if place + 1 < jobs => {
            let child = place + 1 + dice.below(jobs - place - 1);
            Step::Enqueue { child, payload: term(dice), swallow: dice.once_in(3) }
        }
        _ => Step::Put(row(dice), term(dice)),
    }
}

fn statement(dice: &mut Dice) -> Statement {
    match dice.below(6) {
        0 | 1 => Statement::Get(dice.one(&[Row::A, Row::B, Row::Count])),
        2 | 3 => Statement::Put(row(dice), term(dice)),
        4 => Statement::Increment,
        _ => Statement::ReturnIfPresent,
    }
}

/// Returns the smallest program that results from dropping and simplifying, and still differs.
pub fn shrink(program: &Program, differs: impl Fn(&Program) -> bool) -> Program {
    let mut smallest = program.clone();
    let is_program = |program: &Program| program.jobs.iter().all(|job| job.steps.iter().any(shows));
    while let Some(smaller) =
        smaller(&smallest).into_iter().find(|program| is_program(program) && differs(program))
    {
        smallest = smaller;
    }
    smallest
}

/// Returns programs that are slightly smaller or simpler.
fn smaller(program: &Program) -> Vec<Program> {
    let mut all = Vec::new();
    for place in 0..program.jobs.len() {
        all.extend(without(program, place));
        let mut with = |change: &dyn Fn(&mut Job)| {
            let mut changed = program.clone();
            change(&mut changed.jobs[place]);
            if changed != *program {
                all.push(changed);
            }
        };
        for step in 0..program.jobs[place].steps.len() {
            with(&|job| _ = job.steps.remove(step));
        }
        for step in 0..program.jobs[place].steps.len() {
            for plainer in plainer(&program.jobs[place].steps[step]) {
                with(&|job| job.steps[step] = plainer.clone());
            }
        }
        with(&|job| job.policy = Policy::Retry);
        with(&|job| job.order = 1);
        if program.jobs[place].arrival == Arrival::InAnHour {
            with(&|job| job.arrival = Arrival::Now);
        }
    }
    all
}

/// Returns the program without a job, and without the steps that enqueue it.
fn without(program: &Program, place: usize) -> Option<Program> {
    if program.jobs.len() == 1 {
        return None;
    }
    let mut jobs = program.jobs.clone();
    jobs.remove(place);
    for job in &mut jobs {
        job.steps.retain(|step| !matches!(step, Step::Enqueue { child, .. } if *child == place));
        for step in &mut job.steps {
            if let Step::Enqueue { child, .. } = step {
                *child -= usize::from(*child > place);
            }
        }
    }
    // A job that nothing enqueues any more is removed, too.
    let is_enqueued = |child: usize| {
        let enqueues = |step: &Step| matches!(step, Step::Enqueue { child: it, .. } if *it == child);
        jobs.iter().any(|job| job.steps.iter().any(enqueues))
    };
    let orphan = (0..jobs.len()).find(|place| jobs[*place].arrival == Arrival::Child && !is_enqueued(*place));
    let program = Program { jobs };
    match orphan {
        Some(orphan) => without(&program, orphan),
        None => Some(program),
    }
}

fn plainer(step: &Step) -> Vec<Step> {
    match step {
        Step::Call { service, body, on_error, keep } => {
            let plain = |service, body, on_error, keep| Step::Call { service, body, on_error, keep };
            vec![
                plain(*service, *body, *on_error, false),
                plain(*service, *body, OnError::Return, *keep),
                plain(*service, Term::Number(1), *on_error, *keep),
                plain(Service::Payments(Key::None), *body, *on_error, *keep),
            ]
        }
        Step::DrawStored(_) => vec![Step::Draw],
        Step::Put(row, term) if *term != Term::Number(1) => vec![Step::Put(*row, Term::Number(1))],
        Step::Claim(row, term) if *term != Term::Number(1) => vec![Step::Claim(*row, Term::Number(1))],
        Step::Transaction(isolation, statements) => {
            let dropped = (0..statements.len()).map(|at| {
                let mut fewer = statements.clone();
                fewer.remove(at);
                Step::Transaction(*isolation, fewer)
            });
            dropped.chain([Step::Transaction(Isolation::ReadCommitted, statements.clone())]).collect()
        }
        Step::Enqueue { child, payload, swallow } => vec![
            Step::Enqueue { child: *child, payload: *payload, swallow: false },
            Step::Enqueue { child: *child, payload: Term::Number(1), swallow: *swallow },
        ],
        _ => Vec::new(),
    }
}
