using Hyperscope.Client;

namespace Hyperscope.Fuzz.Targets;

/// <summary>A VM's bytes in the client: commands end, the connection ends in an orderly way.</summary>
public static class KvmiClient
{
    /// <summary>What is unanswered while the input arrives, in the order sent.</summary>
    internal static readonly MessageId[] Commands =
    [
        MessageId.VmGetMaxGfn, MessageId.VmReadPhysical, MessageId.VmReadPhysical, MessageId.VcpuGetRegisters, MessageId.VcpuGetXsave,
        MessageId.VmSetPageAccess,
    ];

    /// <summary>What the two reads of physical memory ask for together.</summary>
    internal const int ReadBytes = 5000;

    /// <summary>Sequence number of the first of <see cref="Commands"/>; 0 before the first run.</summary>
    internal static uint FirstSeq { get; private set; }

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static long _orderly, _refused, _events, _answered, _failed;

    public static string Summary() => $"{_events} page faults handled, {_answered} commands done, {_failed} failed, {_orderly} connections ended by the VM, {_refused} given up as broken";

    public static void Run(ReadOnlySpan<byte> input)
    {
        byte[] stream = input.ToArray();
        (StreamSocket tool, StreamSocket hypervisor) = StreamSocket.CreatePair();
        using (hypervisor)
            RunAsync(tool, hypervisor, stream).GetAwaiter().GetResult();
    }

    private static async Task RunAsync(StreamSocket tool, StreamSocket hypervisor, byte[] stream)
    {
        Task<IntrospectedVm> starting = IntrospectedVm.StartAsync(tool);
        AnswerGreeting(hypervisor);
        await using IntrospectedVm vm = await starting.WaitAsync(Limit);
        vm.On<PageFaultEvent>(static pf =>
        {
            _events++;
            pf.Retry();
        });
        Task[] calls =
        [
            vm.GetMaxGfnAsync().AsTask(),
            vm.ReadPhysicalAsync(default, ReadBytes).AsTask(),
            vm.Vcpus[0].GetRegistersAsync(new uint[] { 1, 2 }).AsTask(),
            vm.Vcpus[1].GetXsaveAsync().AsTask(),
            vm.SetPageAccessAsync(default(Gpa), PageAccess.Read).AsTask(),
        ];
        Task last = vm.GetMaxGfnAsync().AsTask();
        Task draining = Task.Run(() => Drain(hypervisor));
        _ = hypervisor.Send(Complete(stream));

        // The answer to the last command comes behind all of the input; then, or when the client has given up, the VM goes away.
        await Task.WhenAny(End(last), End(vm.Completion)).WaitAsync(Limit);
        hypervisor.Shutdown();
        foreach (Task call in calls)
            _ = await End(call) is null ? _answered++ : _failed++;
        if (await End(vm.Completion) is null)
            _orderly++;
        else
            _refused++;
        _ = await End(last);
        await draining.WaitAsync(Limit);
    }

    /// <summary>Fills up the last message with zeros and adds the answer to the last command.</summary>
    private static byte[] Complete(ReadOnlySpan<byte> input)
    {
        int at = 0;
        Span<byte> start = stackalloc byte[KvmiConstants.HeaderSize];
        while (at < input.Length)
        {
            start.Clear();
            input[at..Math.Min(input.Length, at + start.Length)].CopyTo(start);
            _ = Message.TryReadHeader(start, out MessageHeader header);
            if (!header.IsAcceptable)
                return input.ToArray(); // the client closes the connection
            at += header.MessageSize;
        }

        byte[] stream = new byte[at + 32];
        input.CopyTo(stream);
        int size = Message.WriteReply(stream.AsSpan(at), MessageId.VmGetMaxGfn, FirstSeq + (uint)Commands.Length, default(VmGetMaxGfnReply));
        return stream[..(at + size)];
    }

    private static void Drain(StreamSocket hypervisor)
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        while (hypervisor.Receive(buffer) > 0)
        {
            // Replies to events, and the commands.
        }
    }

    private static async Task<Exception?> End(Task task)
    {
        try
        {
            await task.WaitAsync(Limit);
            return null;
        }
        catch (Exception ending) when (ending is ProtocolException or ConnectionClosedException or KvmiException)
        {
            return ending;
        }
    }

    private static void AnswerGreeting(StreamSocket socket)
    {
        byte[] message = new byte[KvmiConstants.MaxMessageSize];
        for (int i = 0; i < 2; i++)
        {
            int received = 0;
            while (!Message.TryReadHeader(message.AsSpan(0, received), out MessageHeader header) || received < header.MessageSize)
                received += socket.Receive(message.AsSpan(received));
            Message.TryReadHeader(message, out MessageHeader sent);
            FirstSeq = sent.Seq + 1;
            byte[] data = new byte[16];
            data[0] = sent.MessageId == MessageId.GetVersion ? (byte)KvmiConstants.Version : (byte)KvmiStreams.VcpuCount;
            byte[] reply = new byte[64];
            int size = Message.WriteReply(reply, sent.MessageId, sent.Seq, data);
            socket.Send(reply.AsSpan(0, size));
        }
    }
}
