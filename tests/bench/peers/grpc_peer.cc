// grpc_peer.cc -- batches as gRPC C++ streams them: a server process that gathers shuffled items
// into each message, and this one, which reads. peer.c says what is spoken on the standard streams.
#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "batches.grpc.pb.h"

namespace
{

constexpr int kLookaheadBytes = 64 * 1024 * 1024; // a window that never fills, instead of probing

class Service final : public bench::Batches::Service
{
    grpc::Status Stream(grpc::ServerContext *, const bench::Work *work,
                        grpc::ServerWriter<bench::Batch> *writer) override
    {
        const size_t item_bytes = work->item_bytes();
        const std::vector<char> &data = Data(work->items() * item_bytes);
        std::vector<uint64_t> order(work->items());
        std::iota(order.begin(), order.end(), 0);
        std::mt19937_64 random(7);
        bench::Batch batch; // one for all: its memory is allocated once
        std::string *payload = batch.mutable_payload();
        payload->resize(work->batch_items() * item_bytes);
        size_t at = order.size();
        for (uint64_t i = 0; i < work->batches(); i++) {
            for (uint64_t j = 0; j < work->batch_items(); j++, at++) {
                if (at == order.size()) {
                    std::shuffle(order.begin(), order.end(), random);
                    at = 0;
                }
                memcpy(payload->data() + j * item_bytes, data.data() + order[at] * item_bytes,
                       item_bytes);
            }
            if (!writer->Write(batch))
                return grpc::Status::CANCELLED;
        }
        return grpc::Status::OK;
    }

    const std::vector<char> &Data(size_t size)
    {
        if (data_.size() != size) {
            data_.resize(size);
            std::mt19937_64 random(1);
            for (size_t i = 0; i + 8 <= size; i += 8) {
                uint64_t word = random();
                memcpy(data_.data() + i, &word, sizeof word);
            }
        }
        return data_;
    }

    std::vector<char> data_;
};

[[noreturn]] void Serve(int told)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Service service;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    builder.SetMaxSendMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (server == nullptr || write(told, &port, sizeof port) != sizeof port)
        _exit(1);
    server->Wait();
    _exit(0);
}

// Batches per second; the clock starts with the first.
std::string Measure(bench::Batches::Stub *stub, const bench::Work &work)
{
    grpc::ClientContext context;
    bench::Batch batch;
    std::unique_ptr<grpc::ClientReader<bench::Batch>> reader = stub->Stream(&context, work);
    const size_t size = work.batch_items() * work.item_bytes();
    uint64_t taken = 0;
    std::chrono::steady_clock::time_point start;
    while (reader->Read(&batch) && batch.payload().size() == size) {
        if (taken++ == 0)
            start = std::chrono::steady_clock::now();
    }
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    grpc::Status status = reader->Finish();
    if (!status.ok() || taken != work.batches())
        return "error " + status.error_message();
    return "value " + std::to_string(static_cast<double>(taken - 1) / seconds.count());
}

} // namespace

int main()
{
    int ends[2], port = 0;
    if (pipe(ends) != 0)
        return 1;
    pid_t server = fork(); // before anything of gRPC
    if (server == 0)
        Serve(ends[1]);
    if (server < 0 || read(ends[0], &port, sizeof port) != sizeof port) {
        std::cout << "unavailable the server did not start" << std::endl;
        return 0;
    }
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
    std::unique_ptr<bench::Batches::Stub> stub = bench::Batches::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
    std::cout << "ready " << grpc::Version()
              << ": server streaming, one `bytes` a message, messages reused, no limit on their "
                 "size, lookahead of 64 MiB without probing, no TLS"
              << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
        std::string name;
        uint64_t items, item_bytes, batch_items, batches;
        std::istringstream(line) >> name >> items >> item_bytes >> batch_items >> batches;
        bench::Work work;
        work.set_items(items);
        work.set_item_bytes(item_bytes);
        work.set_batch_items(batch_items);
        work.set_batches(batches);
        std::cout << Measure(stub.get(), work) << std::endl;
    }
    kill(server, SIGKILL);
    return 0;
}
