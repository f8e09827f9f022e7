#[crash_points]
fn loops(mut rows: impl Iterator<Item = u32>) -> u32 {
    'outer: for i in 0..3 {
        while let Some(row) = rows.next() {
            if row == i {
                continue 'outer;
            }
            save(row);
        }
        while { step(); i < 2 } {
            step();
        }
    }
    let found = loop {
        try_it();
        if ready() {
            break 7;
        }
    };
    let in_block = 'block: {
        if found > 1 {
            break 'block 1;
        }
        2
    };
    found + in_block
}
