using Hyperscope.Cli.Output;
using Iced.Intel;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vcpu step</c>.</summary>
internal sealed class VcpuStepCommand : ToolCommand
{
    private const int MaxInstructionLength = 15;

    private readonly Argument<int> _index = new("index")
    {
        Description = "Which vCPU",
        DefaultValueFactory = static _ => 0,
        CustomParser = Values.Index,
    };

    private readonly Option<int> _count = new("--count")
    {
        Description = "Instructions to execute",
        HelpName = "n",
        DefaultValueFactory = static _ => 1,
        CustomParser = Values.Count,
    };

    /// <summary>Adds its arguments.</summary>
    public VcpuStepCommand()
        : base(
            "step",
            "Stop a vCPU, execute some instructions one by one and show them, then let it run.",
            new Example("hyperscope vcpu step --kvmi unix:/run/vm.sock 0 --count 20", "What is vCPU 0 doing?"))
    {
        Arguments.Add(_index);
        Options.Add(_count);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        if (!vm.Version.Features.Singlestep)
            throw new CliException("this VM cannot single-step", ExitCode.Refused);
        IntrospectedVcpu vcpu = vm.Vcpu(parsed.GetValue(_index));
        int left = parsed.GetValue(_count);
        int done = 0;
        IAsyncEnumerable<VmEvent> events = vm.Events(cancellation);
        await vcpu.PauseAsync(wait: true, cancellation).ConfigureAwait(false);
        await foreach (VmEvent e in events.WithCancellation(cancellation).ConfigureAwait(false))
        {
            bool isStep = e.Is(out VmEvent<SinglestepEvent> step);
            if (e.Vcpu != vcpu || !(isStep || e.Id == EventId.PauseVcpu))
            {
                e.Continue();
                continue;
            }

            if (!isStep)
                await vcpu.ControlSinglestepAsync(enable: true, cancellation).ConfigureAwait(false);
            else if (!step.Failed)
                left--;
            if (left == 0)
            {
                await vcpu.ControlSinglestepAsync(enable: false, cancellation).ConfigureAwait(false);
                e.Continue();
                return ExitCode.Done;
            }

            await ShowNextAsync(vcpu, e, ++done, IsJson(parsed), cancellation).ConfigureAwait(false);
            e.Continue();
        }

        throw new CliException("the VM ended before all steps were done");
    }

    private async Task ShowNextAsync(IntrospectedVcpu vcpu, VmEvent e, int step, bool json, CancellationToken cancellation)
    {
        int bits = (int)e.State.Mode * 8;
        ulong rip = e.Registers.Rip;
        byte[] bytes = new byte[MaxInstructionLength];
        var linear = new Gva(unchecked(e.State.Sregs.Cs.Base + rip));
        int read = await vcpu.TryReadVirtualAsync(linear, bytes, cancellation).ConfigureAwait(false);
        Decoder decoder = Decoder.Create(bits is 16 or 32 or 64 ? bits : 64, bytes.AsSpan(0, read).ToArray(), rip, DecoderOptions.None);
        decoder.Decode(out Instruction instruction);
        string text = instruction.IsInvalid ? "(bad)" : $"{instruction}";
        string hex = Convert.ToHexStringLower(bytes.AsSpan(0, instruction.IsInvalid ? read : instruction.Length));
        if (json)
            Console.WriteJson(new StepRecord(vcpu.Index.Value, step, RegisterText.Hex(rip), hex, text), CliJson.Default.StepRecord);
        else
            await Console.Out.WriteLineAsync($"{step,6} {rip:x16}  {hex,-22} {text}").ConfigureAwait(false);
    }
}
