using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux stack</c>.</summary>
internal sealed class LinuxStackCommand : LinuxCommand
{
    private readonly Argument<int?> _index = new("vcpu")
    {
        Description = "Which vCPU; all if not given",
        Arity = ArgumentArity.ZeroOrOne,
        CustomParser = static result => Values.Index(result),
    };

    /// <summary>Adds its arguments.</summary>
    public LinuxStackCommand()
        : base(
            "stack",
            "Show what vCPUs do in the kernel: stop them, follow their stacks, let them go.",
            new("hyperscope linux stack --kvmi unix:/run/vm.sock", "Where does each vCPU stand?"),
            new("hyperscope linux stack --kvmi unix:/run/vm.sock 1 --json", "One of them, for a program"))
    {
        Arguments.Add(_index);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<IntrospectedVcpu> vcpus = parsed.GetValue(_index) is { } index ? [guest.Vm.Vcpu(index)] : guest.Vm.Vcpus;
        var stacks = new List<(int Vcpu, CallStack Stack)>();
        await using (StoppedVcpus stopped = await StoppedVcpus.StopAsync(guest.Vm, vcpus, cancellation).ConfigureAwait(false))
        {
            foreach (VmEvent<PauseVcpuEvent> pause in await stopped.EventsAsync(cancellation).ConfigureAwait(false))
            {
                CallStack stack = await guest.StackAsync(pause.Registers, pause.State.Sregs.Cs.Selector, cancellation).ConfigureAwait(false);
                stacks.Add((pause.Vcpu.Index.Value, stack));
            }
        }

        foreach ((int vcpu, CallStack stack) in stacks)
        {
            if (IsJson(parsed))
                Console.WriteJson(Record(vcpu, stack), LinuxEventJson.Default.LinuxStackRecord);
            else
                Print(vcpu, stack);
        }

        return ExitCode.Done;
    }

    private static LinuxStackRecord Record(int vcpu, CallStack stack) => new(
        vcpu, [.. stack.Frames.Select(static frame => new LinuxFrameRecord($"{frame.Ip}", $"{frame.Sp}", frame.Symbol, $"{frame.Source}"))], stack.End,
        stack.IsComplete);

    private void Print(int vcpu, CallStack stack)
    {
        Console.Out.WriteLine($"vCPU {vcpu}");
        for (int i = 0; i < stack.Frames.Count; i++)
        {
            StackFrame frame = stack.Frames[i];
            char mark = frame.Source switch { FrameSource.Scanned => '?', FrameSource.Interrupted => '!', _ => ' ' };
            Console.Out.WriteLine($"{$"#{i}",4} {frame.Ip.Value:x16} {mark} {frame.Symbol}");
        }

        Console.Out.WriteLine($"     {(stack.IsComplete ? stack.End : $"{stack.End}; frames with ? are guesses")}");
    }
}
