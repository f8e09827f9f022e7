use crash_points::crash_points;

trait Job {
    #[crash_points]
    fn run(&self);
}

fn main() {}
