use crash_points::crash_points;

#[crash_points]
trait Job {
    fn run(&self) {}
}

fn main() {}
