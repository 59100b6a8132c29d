using Hyperscope.Guests;
using Hyperscope.Machine;
using Hyperscope.X64;

namespace Hyperscope.Fuzz.Targets;

/// <summary>Bytes as supervisor code in 64-bit mode: whatever they do, the vCPU comes back.</summary>
public static class GuestCode
{
    private const ulong Instructions = 300;

    private static readonly GuestProgram Program = SelftestGuest.Build(1);
    private static VirtualMachine? _vm;
    private static long _limits, _shutdowns, _halts;
    private static int _uses;

    public static string Summary() => $"{_limits} ran on to the limit, {_shutdowns} triple faults, {_halts} halted for ever";

    public static void Run(ReadOnlySpan<byte> input)
    {
        // A guest may reprogram devices and tables; a fresh machine now and then keeps inputs from depending on long histories.
        if (_vm is null || _uses++ % 64 == 0)
        {
            _vm?.DisposeAsync().AsTask().GetAwaiter().GetResult();
            _vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = Program.MinimumMemory });
        }

        SoftwareVcpu vcpu = _vm.Processors[0];
        vcpu.Reset();
        _vm.Load(Program.Pieces, Program.InitialState);
        if (!_vm.Memory.TryLoad(SelftestGuest.TestPage, input))
            throw new ArgumentException($"an input of {input.Length} bytes is larger than memory");
        vcpu.GetRegisters(out KvmRegs registers);
        registers.Rip = SelftestGuest.TestPage.Value;
        registers.Rbx = registers.Rsi = registers.Rbp = SelftestGuest.TestPage.Value + 0x1000;
        vcpu.SetRegisters(registers);
        switch (vcpu.Run(Instructions, returnOnHalt: true))
        {
            case RunOutcome.Shutdown:
                _shutdowns++;
                break;
            case RunOutcome.Halted:
                _halts++;
                break;
            default:
                _limits++;
                break;
        }
    }

    public static byte[] Generate(Random random, out int units)
    {
        units = 1;
        byte[] code = new byte[random.Next(1, 200)];
        random.NextBytes(code);
        for (int i = random.Next(20); i > 0; i--)
            code[random.Next(code.Length)] = (byte)(random.Next(3) == 0 ? 0x0F : 0x40 + random.Next(16));
        return code;
    }
}
