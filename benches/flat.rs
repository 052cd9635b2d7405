//! Whether an operation costs the same in large tables as in small ones: a random service and one
//! of its workers each time.
//!
//! Half of the services have idle workers only: a request goes to one of them, and its reply comes
//! back. In the other half every worker is busy and requests wait: a reply comes, a waiting request
//! takes its place, and a new one is queued.

mod fixture;

use std::process::ExitCode;

use fixture::{Address, Tables};
use majordomo::id::PeerId;
use majordomo::proto::policy::{ClientLimits, ServicePolicy, Settings};

/// Operations of one round.
const OPERATIONS: u32 = 200_000;
const ROUNDS: usize = 7;
/// What an operation may cost in large tables, as a multiple of the small ones.
const RATIO_MAX: f64 = 2.0;

/// How much there is. Both sizes have the same number of clients, and so queues of one shape: as
/// many clients in each, with as many requests.
#[derive(Debug, Clone, Copy)]
struct Size {
    services: usize,
    idle_workers: usize,
    waiting: usize,
    clients: usize,
}

const SMALL: Size = Size { services: 20, idle_workers: 200, waiting: 2_000, clients: 100 };
const LARGE: Size =
    Size { services: 10_000, idle_workers: 100_000, waiting: 1_000_000, clients: 100 };

/// xorshift64*: the same numbers in every run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).expect("32 bits") % end
    }
}

/// Tables filled to some size.
struct Case {
    size: Size,
    tables: Tables,
    clients: Vec<PeerId>,
    /// The worker of each busy service and the request it holds.
    busy: Vec<(PeerId, Address)>,
    random: Random,
}

impl Case {
    fn new(size: Size) -> Self {
        let most = 100_000_000;
        let policy = ServicePolicy {
            queue_messages_max: most,
            queue_bytes_max: 1 << 40,
            ..Default::default()
        };
        let client =
            ClientLimits { requests_max: most, bytes_max: 1 << 40, services_max: most, rate: None };
        let mut tables = Tables::new(Settings { policy, client, ..Settings::default() });
        let clients: Vec<PeerId> = (0..size.clients).map(|_| tables.join()).collect();
        let half = size.services / 2;
        for worker in 0..size.idle_workers {
            tables.worker(worker % half);
        }
        let mut busy = Vec::new();
        for service in half..size.services {
            tables.worker(service);
            let client = clients[service % size.clients];
            busy.push(tables.request(client, service).expect("its worker is free"));
        }
        for request in 0..size.waiting {
            // Neighbours in a queue come from different clients.
            let client = clients[(request / half + request) % size.clients];
            assert_eq!(tables.request(client, half + request % half), None);
        }
        Self { size, tables, clients, busy, random: Random(0x9e37_79b9_7f4a_7c15) }
    }

    fn client(&mut self) -> PeerId {
        self.clients[self.random.below(self.size.clients)]
    }

    fn idle_operation(&mut self) {
        let service = self.random.below(self.size.services / 2);
        let client = self.client();
        let (worker, address) = self.tables.request(client, service).expect("a worker is idle");
        self.tables.reply(worker, &address);
    }

    fn busy_operation(&mut self) {
        let number = self.random.below(self.busy.len());
        let (worker, address) = self.busy[number];
        let next = self.tables.reply(worker, &address);
        self.busy[number] = next.expect("a request waits");
        let client = self.client();
        self.tables.request(client, self.size.services / 2 + number);
    }

    /// Nanoseconds of an operation at idle and at busy services.
    fn round(&mut self) -> [f64; 2] {
        [Self::idle_operation, Self::busy_operation].map(|operation| {
            let start = cpu_nanos();
            for _ in 0..OPERATIONS {
                operation(self);
            }
            (cpu_nanos() - start) / f64::from(OPERATIONS)
        })
    }

    /// What was there at the beginning is there at the end.
    fn check(&self) {
        let expected = self.size.waiting + self.busy.len();
        assert_eq!(self.tables.open_requests(), expected, "no request was lost or made");
    }
}

/// CPU time of this process so far: what else runs on the machine counts less than on a clock.
fn cpu_nanos() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let running = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    running.expect("it begins with a time")
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that it runs.
    let in_earnest = std::env::args().any(|arg| arg == "--bench");
    let (large, rounds) = if in_earnest { (LARGE, ROUNDS) } else { (SMALL, 1) };
    let (mut small, mut large) = (Case::new(SMALL), Case::new(large));
    let rounds: Vec<_> = (0..rounds).map(|_| (small.round(), large.round())).collect();
    small.check();
    large.check();
    println!("{:?}\n{:?}", small.size, large.size);
    let mut met = true;
    for (kind, what) in ["idle workers", "waiting requests"].into_iter().enumerate() {
        let small = median(rounds.iter().map(|(small, _)| small[kind]));
        let large = median(rounds.iter().map(|(_, large)| large[kind]));
        let ratio = median(rounds.iter().map(|(small, large)| large[kind] / small[kind]));
        let kept = ratio <= RATIO_MAX;
        met &= kept;
        println!(
            "{:12}  {what}: {small:.0} ns in small tables, {large:.0} ns in large ones, ratio <= \
             {RATIO_MAX}: {ratio:.2}",
            if kept { "met" } else { "NOT MET" }
        );
    }
    if met || !in_earnest { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
