"""Tests of relinks by directives (see testdata/README.md)."""

def relink_test(name, tests, moves = None, twice = False, env = {}, shard_count = 1):
    """Runs `tests` through a session that stays hot.

    Args:
      name: of the target.
      tests: files, NAME.test each.
      moves: policies of --move=, separated by commas: each test runs for each of them.
      twice: compare the images of two runs.
      env: what run_tests.sh looks at, such as COMPILERS.
      shard_count: in how many parts they run.
    """
    native.sh_test(
        name = name,
        size = "large",
        srcs = ["//testdata/runner:run_twice.sh" if twice else "//testdata/runner:run_relinks.sh"],
        args = (["--moves=" + moves] if moves else []) + [
            "$(location //daemon/output:relink_tool)",
            "$(location //testdata/runner:cold_ld)",
        ] + ["$(location %s)" % test for test in tests],
        data = [
            "//testdata/runner:cold_ld",
            "//daemon/output:relink_tool",
            "//testdata/runner:relink_steps",
        ] + tests,
        env = env,
        shard_count = shard_count,
        # The compilers are the system's, and their output names them.
        tags = ["external"],
    )
