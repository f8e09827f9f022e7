fn after_return() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "after_return",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    before();
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    return 1;
    after();
    2
}
fn in_arms(a: bool) -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "in_arms",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    if a {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        panic!("a");
    } else {
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        return 2;
    }
    never()
}
fn endless() -> ! {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "endless",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    loop {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        turn();
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        match next() {
            0 => return after(),
            _ => continue,
        }
        never();
    }
    never()
}
fn not_endless() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "not_endless",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    loop {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        select! {
            a => break
        }
    }
    ::crash_points::hit(&__CRASH_POINTS, 2u32);
    'label: {
        ::crash_points::hit(&__CRASH_POINTS, 3u32);
        break 'label;
    }
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    match a {
        1 => return 1,
        _ => {}
    }
    ::crash_points::hit(&__CRASH_POINTS, 5u32);
    unsafe {
        ::crash_points::hit(&__CRASH_POINTS, 6u32);
        std::hint::unreachable_unchecked()
    };
    ::crash_points::hit(&__CRASH_POINTS, 7u32);
    reached_for_all_we_know()
}
fn diverges_under_some_configurations() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "diverges_under_some_configurations",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    #[cfg(windows)] ::crash_points::hit(&__CRASH_POINTS, 0u32);
    #[cfg(windows)] return 1;
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    {
        #[cfg_attr(unix, cfg(windows))] ::crash_points::hit(&__CRASH_POINTS, 2u32);
        #[cfg_attr(unix, cfg(windows))]
        panic!("windows");
    }
    ::crash_points::hit(&__CRASH_POINTS, 3u32);
    reached_elsewhere();
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    match next() {
        #[cfg(windows)]
        0 => return 1,
        _ => return 2,
    }
}
