use crash_points::crash_points;

#[crash_points]
mod jobs {
    pub fn run() {}
}

fn main() {
    jobs::run();
}
