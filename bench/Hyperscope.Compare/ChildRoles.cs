using System.Globalization;
using Hyperscope.Guests;
using Hyperscope.Introspection;
using Hyperscope.LinuxHost;
using Hyperscope.Machine;
using Hyperscope.Machine.Control;

namespace Hyperscope.Compare;

/// <summary>What a child process can be.</summary>
internal static class ChildRoles
{
    /// <summary>Guest memory of the "vm" role: enough for a million pages of restrictions, and none of it is touched.</summary>
    public const ulong VmMemory = 4UL << 30;

    public static int Run(ReadOnlySpan<string> arguments) => arguments switch
    {
        ["vm", string endpoint] => RunVm(endpoint),
        ["echo", string endpoint, string receive, string send] => RunEcho(
            endpoint, int.Parse(receive, CultureInfo.InvariantCulture), int.Parse(send, CultureInfo.InvariantCulture)),
        ["image", string path] => RunImage(path),
        _ => 2,
    };

    private static int RunVm(string endpoint)
    {
        GuestProgram guest = SelftestGuest.Build(1);
        var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = VmMemory });
        vm.Load(guest.Pieces, guest.InitialState);
        var introspector = new Introspector(vm);
        var options = new HookOptions { AllowedCommands = Enum.GetValues<MessageId>().ToHashSet(), AllowedEvents = Enum.GetValues<EventId>().ToHashSet() };
        var host = new IntrospectionHost(introspector, Endpoint.Parse(endpoint), listen: true, options);
        vm.Start();
        Console.WriteLine("ready");
        while (Console.ReadLine() is not null)
            Console.WriteLine(GC.GetTotalAllocatedBytes(precise: true));
        host.DisposeAsync().AsTask().GetAwaiter().GetResult();
        vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return 0;
    }

    /// <summary>The bare peer: receives so many bytes, sends so many, with nothing between.</summary>
    private static int RunEcho(string endpoint, int receive, int send)
    {
        using var listener = SocketListener.Listen(Endpoint.Parse(endpoint));
        Console.WriteLine("ready");
        using StreamSocket socket = listener.Accept()!;
        byte[] incoming = new byte[receive];
        byte[] outgoing = new byte[send];
        while (ReceiveAll(socket, incoming) && socket.Send(outgoing))
        {
        }

        return 0;
    }

    public static bool ReceiveAll(StreamSocket socket, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int received = socket.Receive(buffer);
            if (received <= 0)
                return false;
            buffer = buffer[received..];
        }

        return true;
    }

    /// <summary>Runs a multiboot image until it writes to the debug-exit port; prints instructions retired.</summary>
    private static int RunImage(string path)
    {
        Console.WriteLine("ready");
        var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 64UL << 20 });
        vm.Load(MultibootLoader.Load(File.ReadAllBytes(path), "", [], vm.MemoryMap));
        vm.Start();
        VmExit exit = vm.Completion.GetAwaiter().GetResult();
        Console.WriteLine($"{vm.InstructionsRetired} {exit.Kind} {exit.Code}");
        vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return 0;
    }
}
