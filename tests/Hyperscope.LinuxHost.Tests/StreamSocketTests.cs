namespace Hyperscope.LinuxHost.Tests;

public sealed class StreamSocketTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void A_message_arrives_whole()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        using (second)
        {
            byte[] message = [.. Enumerable.Range(0, 8192).Select(static i => (byte)i)];
            Assert.True(first.Send(message));

            byte[] received = new byte[9000];
            Assert.Equal(8192, second.Receive(received));
            Assert.Equal(message, received[..8192]);
        }
    }

    [Fact]
    public void Nothing_to_receive_is_minus_one_and_end_of_stream_is_zero()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (second)
        {
            Assert.Equal(-1, second.TryReceive(new byte[8]));
            first.Dispose();
            Assert.Equal(0, second.TryReceive(new byte[8]));
            Assert.Equal(0, second.Receive(new byte[8]));
        }
    }

    [Fact]
    public void A_send_to_a_peer_that_is_gone_is_false()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        {
            second.Dispose();
            Assert.False(first.Send([1, 2, 3]));
            Assert.False(first.TrySend([1, 2, 3], out int sent));
            Assert.Equal(0, sent);
        }
    }

    [Fact]
    public void A_reset_by_a_peer_that_left_data_unread_is_end_of_stream()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        {
            Assert.True(first.Send([1]));
            second.Dispose();
            Assert.Equal(0, first.Receive(new byte[8]));
        }
    }

    [Fact]
    public async Task Shutdown_ends_a_blocked_receive()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        using (second)
        {
            Task<int> blocked = RunOnThread(() => first.Receive(new byte[8]));
            first.Shutdown();
            Assert.Equal(0, await blocked.WaitAsync(Cancel));
        }
    }

    [Fact]
    public async Task Disposing_ends_a_blocked_receive()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (second)
        {
            using var started = new ManualResetEventSlim();
            Task<int> blocked = RunOnThread(() =>
            {
                started.Set();
                try
                {
                    return first.Receive(new byte[8]);
                }
                catch (ObjectDisposedException)
                {
                    return 0; // disposed before the call began
                }
            });
            started.Wait(Cancel);
            first.Dispose();
            Assert.Equal(0, await blocked.WaitAsync(Cancel));
        }
    }

    [Fact]
    public async Task Shutdown_ends_a_send_that_blocks_on_a_full_buffer()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        using (second)
        {
            byte[] message = new byte[8192];
            while (first.TrySend(message, out int sent) && sent != 0)
                Assert.Equal(message.Length, sent); // a unix socket takes it whole or not at all

            Task<bool> blocked = RunOnThread(() => first.Send(message));
            first.Shutdown();
            Assert.False(await blocked.WaitAsync(Cancel));
        }
    }

    [Fact]
    public void A_signalled_eventfd_calls_a_wait_off()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using var cancel = new EventFd();
        using (first)
        using (second)
        {
            Assert.Equal(WaitOutcome.TimedOut, first.WaitReadable(0, cancel));
            Assert.Equal(WaitOutcome.Ready, first.WaitWritable(0, cancel));
            Assert.True(second.Send([1]));
            Assert.Equal(WaitOutcome.Ready, first.WaitReadable(-1, cancel));
            cancel.Signal();
            Assert.Equal(WaitOutcome.Cancelled, first.WaitReadable(-1, cancel));
            Assert.Equal(WaitOutcome.Cancelled, first.WaitWritable(-1, cancel));
        }
    }

    [Fact]
    public void The_peer_of_a_pair_is_this_process()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        using (second)
            Assert.Equal(Environment.ProcessId, first.PeerProcessId);
    }

    [Fact]
    public void Sending_and_receiving_allocate_nothing()
    {
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        using (second)
        {
            byte[] buffer = new byte[600];
            Exchange(first, second, buffer, 100);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Exchange(first, second, buffer, 1000);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        static void Exchange(StreamSocket first, StreamSocket second, byte[] buffer, int times)
        {
            for (int i = 0; i < times; i++)
            {
                first.Send(buffer);
                second.Receive(buffer);
            }
        }
    }

    internal static Task<T> RunOnThread<T>(Func<T> body) =>
        Task.Factory.StartNew(body, Cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
