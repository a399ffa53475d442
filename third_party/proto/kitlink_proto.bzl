"""C++ code from a .proto file, with the system's protoc, for two runtimes.

In proto/kitlink/v1/BUILD.bazel:

    load("//third_party/proto:kitlink_proto.bzl", "kitlink_proto")

    kitlink_proto(
        name = "link",
        src = "link.proto",
    )

gives two public libraries:

    //proto/kitlink/v1:link_grpc   messages over the full runtime, and the gRPC
                                   service and stub. For the daemon.
    //proto/kitlink/v1:link_lite   messages over the lite runtime, no service.
                                   For static clients.

Both are included under the path that the .proto has below `proto/`:

    #include "kitlink/v1/link.pb.h"
    #include "kitlink/v1/link.grpc.pb.h"    (link_grpc only)

A program links one of the two, never both: the message classes have the same
names, the linker would take either, and the program would break at run time.
Each library therefore brings one symbol of the same name, so that a program
that got both does not link ("multiple definition of kitlink_one_proto_runtime...").

The .proto may not import other files (well-known types included: they would
cost the static client most of its size).
"""

def _runtime(name, src, stem, runtime, import_root, guard_symbol, cpp_option, plugin, libs):
    folder = "%s_%s_gen" % (name, runtime)
    outs = ["%s/%s.pb.h" % (folder, stem), "%s/%s.pb.cc" % (folder, stem)]
    command = "/usr/bin/protoc --proto_path=%s --cpp_out=%s$(RULEDIR)/%s" % (import_root, cpp_option, folder)
    if plugin:
        outs += ["%s/%s.grpc.pb.h" % (folder, stem), "%s/%s.grpc.pb.cc" % (folder, stem)]
        command += " --grpc_out=$(RULEDIR)/%s --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin" % folder
    guard = "%s_%s_guard" % (name, runtime)
    native.genrule(
        name = "%s_%s_protoc" % (name, runtime),
        srcs = [src],
        outs = outs,
        cmd = command + " $(location %s)" % src,
        visibility = ["//visibility:private"],
    )
    native.genrule(
        name = guard + "_cc",
        outs = ["%s/guard.cc" % folder],
        cmd = "echo 'extern \"C\" { extern const char %s; const char %s = 0; }' > $@" % (guard_symbol, guard_symbol),
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = guard,
        srcs = ["%s/guard.cc" % folder],
        alwayslink = True,
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = "%s_%s" % (name, runtime),
        srcs = [out for out in outs if out.endswith(".cc")],
        hdrs = [out for out in outs if out.endswith(".h")],
        # As a system folder: warnings in generated headers are not ours.
        includes = [folder],
        visibility = ["//visibility:public"],
        deps = [":" + guard] + libs,
    )

def kitlink_proto(name, src, import_root = "proto"):
    """Generates `<name>_grpc` and `<name>_lite` from one .proto file.

    Args:
      name: prefix of the two libraries.
      src: the .proto file, in this package.
      import_root: workspace folder that include and import paths start at; the
        package must be in it or below.
    """
    package = native.package_name()
    if package != import_root and not package.startswith(import_root + "/"):
        fail("kitlink_proto: package %s is not below %s" % (package, import_root))
    if not src.endswith(".proto"):
        fail("kitlink_proto: src must be a .proto file of this package")
    below = package[len(import_root) + 1:]
    stem = (below + "/" if below else "") + src[:-len(".proto")]
    symbol = "kitlink_one_proto_runtime_a_program_" + (package + "_" + name).replace("/", "_")
    _runtime(name, src, stem, "grpc", import_root, symbol, "", True, ["@system//:grpc", "@system//:protobuf"])
    _runtime(name, src, stem, "lite", import_root, symbol, "lite:", False, ["@system//:protobuf_lite"])
