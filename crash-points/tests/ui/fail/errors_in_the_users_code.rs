//! Each error is where the user's mistake is, with no word of what was generated.

use crash_points::crash_points;

#[crash_points]
fn wrong_type() -> String {
    let number: u32 = "three";
    if number > 2 {
        return number;
    }
    number
}

#[crash_points]
fn unknown_name() {
    let known = 1;
    drop(knwon + known);
}

#[crash_points]
async fn not_send() {
    let shared = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

#[crash_points]
fn missing_tail(x: u32) -> u32 {
    let y = x + 1;
    y;
}

struct Order;

#[crash_points]
impl Order {
    fn no_such_field(&self) -> u32 {
        let order = self;
        order.id
    }
}

fn send<T: Send>(_: T) {}

fn main() {
    wrong_type();
    unknown_name();
    send(not_send());
    missing_tail(Order.no_such_field());
}
