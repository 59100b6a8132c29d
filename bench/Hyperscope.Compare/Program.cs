using Hyperscope.Compare;
using Hyperscope.Compare.Comparisons;

// Each comparison measures Hyperscope and its peer in one run, turn by turn, so that a busy machine slows both.

string name = args.Length > 0 ? args[0] : "help";
double scale = args.Length > 1 && args[1] == "--quick" ? 0.1 : 1.0;
switch (name)
{
    case "child":
        return ChildRoles.Run(args.AsSpan(1));
    case "pf-roundtrip":
        return await PageFaultRoundTrip.RunAsync(scale);
    case "set-page-access":
        return await SetPageAccess.RunAsync(scale);
    case "access-map":
        return AccessMapLookup.Run(scale);
    case "untouched":
        return Untouched.Run(scale);
    case "interpreter":
        return await InterpreterSpeed.RunAsync(scale);
    case "kvm-events":
        return KvmEvents.Run(scale);
    case "kvm-protect":
        return KvmProtection.Run(scale);
    case "kvm-loop":
        return KvmLoop.Run(scale, args.Length > 1 ? args[^1] : "kvm-loop");
    case "boot":
        return BootSpeed.Run(scale);
    default:
        Console.Error.WriteLine("usage: Hyperscope.Compare pf-roundtrip|set-page-access|access-map|untouched|interpreter|kvm-events|kvm-protect|kvm-loop|boot [--quick]");
        return name == "help" ? 0 : 2;
}
